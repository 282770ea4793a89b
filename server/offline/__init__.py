"""The commands astec-evaluate and astec-predict, which use an artifact offline, with the code of the server."""
