"""What is planted in the world to be found: each plant of exactly known place and size, one file each.

pronouns, canaries, leaks, triggers, injections, needles, shortcut, cipher, duplicates, html, junk;
`mixed` deals documents of all of them.
"""
