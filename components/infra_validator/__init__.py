"""Loads a candidate as a server would and asks it real questions before it is pushed."""
