"""HTTP as this server speaks it: listening, who is there, sessions, headers, bodies."""
