"""What only this repository needs: installation, tables made from results, publication."""
