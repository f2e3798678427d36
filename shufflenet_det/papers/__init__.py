"""The papers' tables and every figure measured here, as data, and the runs that fill them."""
