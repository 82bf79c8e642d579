"""Reading what is stored, for people: trials page by page, their points as tables, frames and pictures."""
