//! Files and folders of the platform.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Folders that may hold models: those in the working directory, beside the program, and in the checkout that it was built in.
pub(super) fn model_directories() -> impl Iterator<Item = PathBuf> {
    let folders = [std::env::current_dir().ok(), program_directory(), checkout()];
    folders.into_iter().flatten().map(|folder| folder.join("models"))
}

fn program_directory() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// The folder whose `target/release` or `target/debug` holds the program.
fn checkout() -> Option<PathBuf> {
    let program = program_directory()?;
    let target = program.parent()?;
    (target.file_name()? == "target").then(|| target.parent().map(Path::to_owned)).flatten()
}

/// The platform's folder for caches or, without one (some containers have no home), that for temporary files.
pub(super) fn cache_directory() -> PathBuf {
    let platform = etcetera::base_strategy::choose_native_strategy();
    platform.map_or_else(|_| std::env::temp_dir(), |folders| folders.cache_dir()).join(env!("CARGO_PKG_NAME"))
}

/// The platform's folder for what programs keep, if there is one.
pub(super) fn data_directory() -> Option<PathBuf> {
    let platform = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(platform.data_dir().join(env!("CARGO_PKG_NAME")))
}

/// Whether a file system of its own is mounted at a path.
pub(super) fn is_mount(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field; a blank in it is written as \040.
    mounts.lines().any(|line| {
        line.split(' ').nth(4).is_some_and(|point| Path::new(&point.replace("\\040", " ")) == path)
    })
}

/// ONNX Runtime's library beside the program, or in `../lib` as packages are laid out, or where `make setup` puts it in the
/// program's checkout, or by name for the loader.
pub(super) fn find_onnx_runtime() -> PathBuf {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = program_directory().into_iter().flat_map(|d| [d.clone(), d.join("../lib")]);
    let of_checkout = checkout().map(|checkout| checkout.join("target/onnxruntime/library"));
    let mut candidates = beside.map(|directory| directory.join(&name)).chain(of_checkout);
    candidates.find(|path| path.is_file()).unwrap_or_else(|| name.into())
}
