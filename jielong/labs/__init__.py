"""The course's claims, one file each, measured. `lab.py` finds and runs them: a lab is a file with CLAIM."""
