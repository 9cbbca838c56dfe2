"""Models as files: base models fetched and verified, bundles written, checked, signed and answered from."""
