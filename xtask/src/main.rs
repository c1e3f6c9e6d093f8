//! Sluice's development commands.

mod ebpf;

fn main() -> anyhow::Result<()> {
    let toolchain = ebpf::Found::look().choose()?;
    let object = ebpf::compile(
        &toolchain,
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-ebpf"),
    )?;
    println!("{}", object.display());
    Ok(())
}
