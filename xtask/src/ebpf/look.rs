//! Looks for compilers and linkers on this machine.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Compiler, Found, LINKER_VERSION, Linker, Origin, dotted};

/// Looks around: the system's compiler, rustup's nightlies, every bpf-linker.
pub fn look() -> Found {
    let system = PathBuf::from("/usr/bin/rustc");
    let compilers = std::iter::once((Origin::System, system))
        .chain(nightlies().into_iter().map(|rustc| (Origin::Nightly, rustc)))
        .filter_map(|(origin, rustc)| {
            let verbose = output_of(Command::new(&rustc).arg("-vV"))?;
            let (major, minor, _) = parse_version(verbose.lines().next()?)?;
            let has_source = has_source(&rustc);
            Some(Compiler {
                origin,
                version: (major, minor),
                llvm: parse_llvm(&verbose),
                has_source,
                rustc,
            })
        })
        .collect();
    let linkers = linker_places()
        .into_iter()
        .filter_map(|path| {
            let version = parse_version(&first_line(Command::new(&path).arg("--version"))?)?;
            Some(Linker { llvm: llvm_of_linker(&path), path, version })
        })
        .collect();
    Found { compilers, linkers }
}

/// The nightly compilers of rustup; the undated one sorts after the dated ones and is the newest: it comes first.
fn nightlies() -> Vec<PathBuf> {
    let rustup =
        env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".rustup")));
    let Some(entries) = rustup.and_then(|rustup| fs::read_dir(rustup.join("toolchains")).ok())
    else {
        return Vec::new();
    };
    let mut toolchains: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("nightly"))
        })
        .collect();
    toolchains.sort();
    toolchains
        .into_iter()
        .rev()
        .map(|toolchain| toolchain.join("bin/rustc"))
        .filter(|rustc| rustc.is_file())
        .collect()
}

/// Whether the source that `-Zbuild-std` compiles lies in the compiler's sysroot.
fn has_source(rustc: &Path) -> bool {
    first_line(Command::new(rustc).args(["--print", "sysroot"])).is_some_and(|sysroot| {
        Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file()
    })
}

/// Every bpf-linker: those that `cargo xtask setup` has built, cargo's directory of programs, and `PATH`.
fn linker_places() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = built_linkers();
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(home()?.join(".cargo")));
    directories.extend(cargo_home.map(|cargo_home| cargo_home.join("bin")));
    directories.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    let mut places: Vec<PathBuf> = Vec::new();
    for place in directories.into_iter().map(|directory| directory.join("bpf-linker")) {
        if place.is_file() && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The directory into which `cargo xtask setup` installs a linker built against this major version of LLVM: apart from
/// cargo's own, where another project's bpf-linker may live.
pub fn linker_root(llvm: u32) -> Option<PathBuf> {
    Some(cache()?.join(format!("bpf-linker-{}-llvm-{llvm}", dotted(LINKER_VERSION))))
}

fn built_linkers() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = cache()
        .and_then(|cache| fs::read_dir(cache).ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    found.sort();
    found.into_iter().rev().collect()
}

/// The LLVM that a linker was built with, where its directory's name tells.
fn llvm_of_linker(path: &Path) -> Option<u32> {
    let root = path.parent()?.parent()?.file_name()?.to_str()?;
    root.strip_prefix("bpf-linker-")?.rsplit_once("-llvm-")?.1.parse().ok()
}

fn cache() -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".cache")))?;
    Some(base.join("sluice"))
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

/// What a program prints, if it runs and succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    // Rustup's stand-ins obey this variable; a compiler named by its path should be itself.
    let output = command
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn first_line(command: &mut Command) -> Option<String> {
    Some(output_of(command)?.lines().next()?.trim().to_owned())
}

/// Reads `NAME 1.97.0-nightly (…)` as (1, 97, 0).
fn parse_version(line: &str) -> Option<(u32, u32, u32)> {
    let version = line.split_whitespace().nth(1)?;
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Reads the major version of LLVM from what `rustc -vV` prints.
fn parse_llvm(verbose: &str) -> Option<u32> {
    let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_tools_print_them() {
        assert_eq!(parse_version("rustc 1.97.0-nightly (4d1f98451 2026-05-15)"), Some((1, 97, 0)));
        assert_eq!(parse_version("bpf-linker 0.13.0"), Some((0, 13, 0)));
        assert_eq!(parse_version("error: toolchain is not installed"), None);
        assert_eq!(parse_llvm("rustc 1.96.0\nbinary: rustc\nLLVM version: 22.1.2\n"), Some(22));
    }

    #[test]
    fn a_linkers_llvm_is_read_from_the_directory_that_setup_gave_it() {
        let root = PathBuf::from("/cache/sluice/bpf-linker-0.13.0-llvm-22");
        assert_eq!(llvm_of_linker(&root.join("bin/bpf-linker")), Some(22));
        assert_eq!(llvm_of_linker(Path::new("/usr/local/bin/bpf-linker")), None);
    }
}
