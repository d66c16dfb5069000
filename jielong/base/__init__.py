"""The ground floor: results, statistics, noise, files, messages, devices. Nothing here imports torch at the top."""
