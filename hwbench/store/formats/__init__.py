"""Results of other tools: one file a format that is read or written. What reads exports READER, what writes exports WRITER.

A reader turns one file, which is one process, into records; it invents nothing: what its format doesn't tell stays None or is named
in `Told.unknown`. The file itself is kept byte for byte beside the records, so that nothing it says is lost.
"""
