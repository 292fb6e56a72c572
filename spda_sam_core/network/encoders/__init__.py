"""RGB path of the dual-path encoder: `build` chooses one, `lora` is the trained change to a frozen one."""
