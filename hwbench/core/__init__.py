"""The values that flow between rooms, and the few helpers that every room needs. Imports no other room, and nothing heavy."""
