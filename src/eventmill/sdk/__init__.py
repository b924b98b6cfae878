"""What users subclass, decorate and return. Makes definitions of it; runs nothing."""
