"""The ground floor: results, statistics, noise, files, messages, devices. No torch at import."""
