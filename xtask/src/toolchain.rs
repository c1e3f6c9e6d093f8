//! Decides, one step at a time, how this machine gets the tools that compile for BPF, and takes those steps.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ebpf::{Compiler, Found, LINKER_VERSION, OLDEST_RUSTC, Toolchain, look};
use crate::{packages, run, tools, workspace};

/// The versions of LLVM that [`LINKER_VERSION`] of bpf-linker can be built with.
const LLVM_VERSIONS: [u32; 3] = [21, 22, 23];

/// What could be installed here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offers {
    /// Whether there is apt.
    apt: bool,
    /// The version of rustc-web that apt offers.
    rustc_web: Option<(u32, u32)>,
    /// Versions of LLVM whose development package apt offers.
    llvm_packages: Vec<u32>,
    /// Versions of LLVM that are installed with headers and `llvm-config`.
    llvm_installed: Vec<u32>,
    /// Whether there is rustup.
    rustup: bool,
    /// Whether there is a C++ compiler, which brings the library that LLVM links with.
    cxx: bool,
}

/// One step nearer to a toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// Install Debian packages.
    Packages(Vec<String>),
    /// Install rustup's nightly with `rust-src`.
    Nightly,
    /// Build bpf-linker with this version of LLVM.
    Linker(u32),
}

/// Returns the toolchain, after installing what it lacks.
pub fn ensure() -> Result<Toolchain> {
    let mut lists_are_fresh = false;
    let mut last = None;
    loop {
        let found = look::look();
        let missing = match found.choose() {
            Ok(toolchain) => return Ok(toolchain),
            Err(missing) => missing,
        };
        let action = match next(&found, &Offers::look()) {
            // A machine whose lists of packages are empty or old offers less than it could.
            Ok(Action::Nightly) | Err(_) if packages::has_apt() && !lists_are_fresh => {
                packages::update()?;
                lists_are_fresh = true;
                continue;
            }
            action => action.context(missing.to_string())?,
        };
        if last.as_ref() == Some(&action) {
            bail!("{missing}; this step was taken and did not help: {action:?}");
        }
        take(&action)?;
        last = Some(action);
    }
}

impl Offers {
    fn look() -> Self {
        let apt = packages::has_apt();
        let offered = |version: &u32| apt && packages::candidate(&llvm_package(*version)).is_some();
        Self {
            apt,
            rustc_web: apt.then(|| packages::candidate("rustc-web")).flatten(),
            llvm_packages: LLVM_VERSIONS.into_iter().filter(offered).collect(),
            llvm_installed: LLVM_VERSIONS
                .into_iter()
                .filter(|version| llvm_programs(*version).is_some())
                .collect(),
            rustup: tools::find("rustup").is_some(),
            cxx: tools::find("c++").is_some(),
        }
    }
}

/// The next step: first a compiler, then an LLVM that reads what it writes, then a linker built with that.
fn next(found: &Found, offers: &Offers) -> Result<Action> {
    match found.compiler() {
        None => compiler(offers),
        Some(compiler) => linker(compiler, offers),
    }
}

fn compiler(offers: &Offers) -> Result<Action> {
    if offers.rustc_web.is_some_and(|version| version >= OLDEST_RUSTC) {
        return Ok(Action::Packages(vec!["rustc-web".into(), "rust-web-src".into()]));
    }
    if offers.rustup {
        return Ok(Action::Nightly);
    }
    let (major, minor) = OLDEST_RUSTC;
    if offers.apt {
        bail!(
            "apt offers no rustc-web of at least {major}.{minor}: add Debian's security archive (bookworm-security) to \
             apt's sources, or install rustup from https://rustup.rs"
        );
    }
    bail!("there is neither apt nor rustup here: install rustup from https://rustup.rs")
}

fn linker(compiler: &Compiler, offers: &Offers) -> Result<Action> {
    // Without a word from the compiler, the newest LLVM reads the most.
    let oldest = compiler.llvm.unwrap_or(LLVM_VERSIONS[LLVM_VERSIONS.len() - 1]);
    let lowest =
        |versions: &[u32]| versions.iter().copied().filter(|version| *version >= oldest).min();
    if let Some(version) = lowest(&offers.llvm_installed) {
        if offers.cxx || !offers.apt {
            return Ok(Action::Linker(version));
        }
        return Ok(Action::Packages(vec!["g++".into()]));
    }
    if let Some(version) = lowest(&offers.llvm_packages) {
        return Ok(Action::Packages(vec![llvm_package(version), "g++".into()]));
    }
    let rustc = compiler.rustc.display();
    if lowest(&LLVM_VERSIONS).is_none() {
        let (major, minor, patch) = LINKER_VERSION;
        bail!(
            "{rustc} writes for LLVM {oldest}, which bpf-linker {major}.{minor}.{patch} does not know"
        );
    }
    bail!(
        "{rustc} needs a bpf-linker with LLVM {oldest}, and no package for it was found: install {} (https://apt.llvm.org \
         has packages for Debian and Ubuntu), so that llvm-config is in /usr/lib/llvm-{oldest}/bin",
        llvm_package(oldest)
    )
}

fn take(action: &Action) -> Result<()> {
    match action {
        Action::Packages(names) => {
            packages::install(&names.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Action::Nightly => {
            eprintln!("installing rustup's nightly with the source of core");
            let components = ["--profile", "minimal", "--component", "rust-src"];
            run::shown(
                Command::new("rustup").args(["toolchain", "install", "nightly"]).args(components),
            )
        }
        Action::Linker(llvm) => build_linker(*llvm),
    }
}

/// Builds bpf-linker into a directory of its own, so that another project's stays as it is.
fn build_linker(llvm: u32) -> Result<()> {
    let (major, minor, patch) = LINKER_VERSION;
    let version = format!("{major}.{minor}.{patch}");
    let root = look::linker_root(llvm).context(
        "cannot tell where to install bpf-linker: neither HOME nor XDG_CACHE_HOME is set",
    )?;
    eprintln!(
        "building bpf-linker {version} with LLVM {llvm} into {} (a minute or two)",
        root.display()
    );
    let mut path = llvm_programs(llvm).unwrap_or_default().into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let mut install = workspace::cargo();
    install
        .env("PATH", path)
        .env_remove("CARGO_TARGET_DIR")
        .args(["install", "bpf-linker", "--locked", "--no-default-features", "--version", &version])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(root);
    run::shown(&mut install)
}

fn llvm_package(version: u32) -> String {
    format!("llvm-{version}-dev")
}

/// Debian's and apt.llvm.org's directory of this LLVM's programs, if it is installed for development.
fn llvm_programs(version: u32) -> Option<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{version}"));
    let complete =
        prefix.join("include/llvm-c/Core.h").exists() && prefix.join("bin/llvm-config").exists();
    complete.then(|| prefix.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::Origin;

    fn with_compiler(llvm: u32) -> Found {
        let rustc = PathBuf::from("/usr/bin/rustc");
        let compiler = Compiler {
            origin: Origin::System,
            rustc,
            version: (1, 96),
            llvm: Some(llvm),
            has_source: true,
        };
        Found { compilers: vec![compiler], linkers: Vec::new() }
    }

    fn debian() -> Offers {
        Offers {
            apt: true,
            rustc_web: Some((1, 96)),
            llvm_packages: vec![22],
            llvm_installed: Vec::new(),
            rustup: true,
            cxx: false,
        }
    }

    fn packages(names: &[&str]) -> Action {
        Action::Packages(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_fresh_debian_gets_its_own_compiler_then_llvm_then_the_linker() {
        let mut offers = debian();
        assert_eq!(
            next(&Found::default(), &offers).unwrap(),
            packages(&["rustc-web", "rust-web-src"])
        );
        assert_eq!(next(&with_compiler(22), &offers).unwrap(), packages(&["llvm-22-dev", "g++"]));
        offers.llvm_installed = vec![22];
        offers.cxx = true;
        assert_eq!(next(&with_compiler(22), &offers).unwrap(), Action::Linker(22));
    }

    #[test]
    fn a_debian_whose_compiler_is_too_old_gets_a_nightly() {
        let offers = Offers { rustc_web: Some((1, 85)), ..debian() };
        assert_eq!(next(&Found::default(), &offers).unwrap(), Action::Nightly);
    }

    #[test]
    fn a_compiler_without_its_source_is_no_compiler() {
        let mut found = with_compiler(22);
        found.compilers[0].has_source = false;
        assert_eq!(next(&found, &debian()).unwrap(), packages(&["rustc-web", "rust-web-src"]));
    }

    #[test]
    fn the_lowest_llvm_that_reads_the_compilers_bitcode_is_taken() {
        let offers = Offers { llvm_installed: vec![21, 22, 23], cxx: true, ..debian() };
        assert_eq!(next(&with_compiler(22), &offers).unwrap(), Action::Linker(22));
    }

    #[test]
    fn an_installed_llvm_without_a_cxx_compiler_asks_for_one() {
        let offers = Offers { llvm_installed: vec![22], ..debian() };
        assert_eq!(next(&with_compiler(22), &offers).unwrap(), packages(&["g++"]));
    }

    #[test]
    fn dead_ends_tell_the_way_out() {
        let bare = Offers::default();
        let ends = [
            (next(&Found::default(), &bare), "https://rustup.rs"),
            (
                next(&Found::default(), &Offers { apt: true, ..Offers::default() }),
                "bookworm-security",
            ),
            (next(&with_compiler(23), &debian()), "install llvm-23-dev"),
            (next(&with_compiler(24), &debian()), "does not know"),
        ];
        for (end, way_out) in ends {
            let text = end.unwrap_err().to_string();
            assert!(text.contains(way_out), "{way_out:?} is not in {text:?}");
        }
    }
}
