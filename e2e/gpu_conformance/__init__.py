"""What only a GPU can show: the data plane before a real driver and real MPS, for people who have one."""
