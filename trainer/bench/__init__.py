"""What training costs, on made-up data of published shapes."""
