"""The places of data: parts in folders, and addresses of other machines."""
