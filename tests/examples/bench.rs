//! Runs the bench: `bench [SUITE] [JSON FILE]`.

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    sluice_tests::bench::run(arguments.next(), arguments.next().map(Into::into))
}
