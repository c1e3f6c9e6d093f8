//! Finds the tools that compile Rust for BPF and compiles lb-ebpf with them.
//!
//! Shared by `cargo xtask build-ebpf` and by lb-userspace's build script, which includes this file by its path: it may use
//! nothing but `std`.

// Named by their paths, which then hold from whichever crate this file is included.
#[path = "ebpf/compile.rs"]
pub mod compile;
#[path = "ebpf/look.rs"]
pub mod look;

use std::fmt;
use std::path::PathBuf;

/// The oldest rustc that the workspace's `rust-version` and lb-ebpf accept, as (major, minor).
pub const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// The bpf-linker that lb-ebpf is known to link with; older ones do not read the bitcode of current compilers.
pub const LINKER_VERSION: (u32, u32, u32) = (0, 13, 0);

/// Where a compiler comes from, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The distribution's packages: `/usr/bin/rustc` and its library source.
    System,
    /// A nightly toolchain of rustup with the component `rust-src`.
    Nightly,
}

/// A compiler that is on this machine, usable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it comes from.
    pub origin: Origin,
    /// The compiler itself.
    pub rustc: PathBuf,
    /// Its version as (major, minor).
    pub version: (u32, u32),
    /// The major version of its LLVM, if it tells.
    pub llvm: Option<u32>,
    /// Whether the source of `core` lies beside it.
    pub has_source: bool,
}

impl Compiler {
    fn new_enough(&self) -> bool {
        self.version >= OLDEST_RUSTC
    }

    fn usable(&self) -> bool {
        self.new_enough() && self.has_source
    }
}

/// A bpf-linker that is on this machine, usable or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Its version as (major, minor, patch).
    pub version: (u32, u32, u32),
    /// The major version of its LLVM, where it is known.
    pub llvm: Option<u32>,
}

impl Linker {
    /// LLVM reads the bitcode of its own and of older versions.
    fn usable_with(&self, compiler: Option<&Compiler>) -> bool {
        let compiled = compiler.and_then(|compiler| compiler.llvm);
        let reads = self.llvm.zip(compiled).is_none_or(|(linker, compiled)| linker >= compiled);
        self.version >= LINKER_VERSION && reads
    }
}

/// What a look around this machine found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Compilers, in order of preference.
    pub compilers: Vec<Compiler>,
    /// Linkers, in order of preference.
    pub linkers: Vec<Linker>,
}

/// Everything that compiling for BPF needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The chosen compiler.
    pub compiler: Compiler,
    /// The chosen linker.
    pub linker: Linker,
}

/// What is missing; its text tells the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// No compiler can be used: why, about each that was found.
    pub compiler: Option<Vec<String>>,
    /// No linker can be used: why, about each that was found.
    pub linker: Option<Vec<String>>,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = OLDEST_RUSTC;
        let linker = dotted(LINKER_VERSION);
        let mut sentences = Vec::new();
        if let Some(seen) = &self.compiler {
            sentences.push(with_seen(
                &format!("a rustc of at least {major}.{minor} with the source of core"),
                seen,
            ));
        }
        if let Some(seen) = &self.linker {
            sentences.push(with_seen(&format!("bpf-linker of at least {linker}"), seen));
        }
        write!(
            f,
            "compiling lb-ebpf for BPF needs {}; run `cargo xtask setup`, which installs what is missing (Debian's rustc-web, \
             rust-web-src and llvm-22-dev, or rustup's nightly with rust-src; and bpf-linker {linker}), or name an object \
             that is already compiled in SLUICE_BPF_OBJECT",
            sentences.join(", and ")
        )
    }
}

fn with_seen(need: &str, seen: &[String]) -> String {
    if seen.is_empty() { need.to_owned() } else { format!("{need} ({})", seen.join(", ")) }
}

fn dotted((major, minor, patch): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{patch}")
}

impl Found {
    /// The first compiler that can be used.
    pub fn compiler(&self) -> Option<&Compiler> {
        self.compilers.iter().find(|compiler| compiler.usable())
    }

    /// The first compiler and the first linker that can be used with it.
    pub fn choose(&self) -> Result<Toolchain, Missing> {
        let compiler = self.compiler();
        let linker = self.linkers.iter().find(|linker| linker.usable_with(compiler));
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => {
                Ok(Toolchain { compiler: compiler.clone(), linker: linker.clone() })
            }
            _ => Err(Missing {
                compiler: compiler
                    .is_none()
                    .then(|| self.compilers.iter().map(why_not_compiler).collect()),
                linker: linker.is_none().then(|| self.linkers.iter().map(why_not_linker).collect()),
            }),
        }
    }
}

fn why_not_compiler(compiler: &Compiler) -> String {
    let (major, minor) = compiler.version;
    let fault = if compiler.new_enough() {
        "lacks the source".to_owned()
    } else {
        format!("is {major}.{minor}")
    };
    format!("{} {fault}", compiler.rustc.display())
}

fn why_not_linker(linker: &Linker) -> String {
    let llvm = linker.llvm.map(|llvm| format!(" with LLVM {llvm}")).unwrap_or_default();
    format!("{} is {}{llvm}", linker.path.display(), dotted(linker.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(origin: Origin, minor: u32, has_source: bool) -> Compiler {
        let rustc = match origin {
            Origin::System => "/usr/bin/rustc",
            Origin::Nightly => "/toolchains/nightly/bin/rustc",
        };
        Compiler {
            origin,
            rustc: PathBuf::from(rustc),
            version: (1, minor),
            llvm: Some(22),
            has_source,
        }
    }

    fn linker(minor: u32, llvm: Option<u32>) -> Linker {
        Linker { path: PathBuf::from("/bin/bpf-linker"), version: (0, minor, 0), llvm }
    }

    #[test]
    fn the_systems_compiler_is_preferred_to_a_nightly() {
        let found = Found {
            compilers: vec![
                compiler(Origin::System, 96, true),
                compiler(Origin::Nightly, 97, true),
            ],
            linkers: vec![linker(13, None)],
        };
        assert_eq!(found.choose().unwrap().compiler.origin, Origin::System);
    }

    #[test]
    fn a_compiler_that_is_too_old_or_lacks_the_source_is_passed_over() {
        for unusable in [compiler(Origin::System, 63, true), compiler(Origin::System, 96, false)] {
            let found = Found {
                compilers: vec![unusable, compiler(Origin::Nightly, 97, true)],
                linkers: vec![linker(13, None)],
            };
            assert_eq!(found.choose().unwrap().compiler.origin, Origin::Nightly);
        }
    }

    #[test]
    fn a_linker_that_cannot_read_the_compilers_bitcode_is_passed_over() {
        let found = Found {
            compilers: vec![compiler(Origin::System, 96, true)],
            linkers: vec![linker(12, None), linker(13, Some(21)), linker(13, Some(22))],
        };
        assert_eq!(found.choose().unwrap().linker, linker(13, Some(22)));
    }

    #[test]
    fn a_bare_machine_is_told_everything_that_is_missing_and_the_way_out() {
        let text = Found::default().choose().unwrap_err().to_string();
        for part in [
            "rustc of at least 1.95",
            "bpf-linker of at least 0.13.0",
            "cargo xtask setup",
            "SLUICE_BPF_OBJECT",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn what_is_there_but_unusable_is_named_with_its_fault() {
        let found = Found {
            compilers: vec![
                compiler(Origin::System, 63, true),
                compiler(Origin::Nightly, 97, false),
            ],
            linkers: vec![linker(9, None)],
        };
        let text = found.choose().unwrap_err().to_string();
        for part in [
            "/usr/bin/rustc is 1.63",
            "/toolchains/nightly/bin/rustc lacks the source",
            "/bin/bpf-linker is 0.9.0",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn a_usable_compiler_is_not_reported_as_missing() {
        let found =
            Found { compilers: vec![compiler(Origin::System, 96, true)], linkers: Vec::new() };
        let missing = found.choose().unwrap_err();
        assert_eq!(missing.compiler, None);
        assert!(!missing.to_string().contains("rustc of at least"));
    }
}
