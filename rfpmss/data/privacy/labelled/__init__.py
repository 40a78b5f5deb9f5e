"""What a report says under a label: ``Name:``, tables of labels above values, ``読影医：``."""
