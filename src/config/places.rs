//! The platform's files and folders.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// Returns the folders that may contain models: `models` in the working directory, beside the program, and in the
/// checkout where the program was built.
pub(super) fn model_directories() -> impl Iterator<Item = PathBuf> {
    let folders = [std::env::current_dir().ok(), program_directory(), checkout()];
    folders.into_iter().flatten().map(|folder| folder.join("models"))
}

fn program_directory() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// Returns the folder whose `target/release` or `target/debug` contains the program.
fn checkout() -> Option<PathBuf> {
    let program = program_directory()?;
    let target = program.parent()?;
    (target.file_name()? == "target").then(|| target.parent().map(Path::to_owned)).flatten()
}

/// Returns the platform's cache folder. Without one, returns the folder for temporary files, as some containers have no home.
pub(super) fn cache_directory() -> PathBuf {
    let platform = etcetera::base_strategy::choose_native_strategy();
    platform.map_or_else(|_| std::env::temp_dir(), |folders| folders.cache_dir()).join(env!("CARGO_PKG_NAME"))
}

/// Returns the platform's folder for application data, if it has one.
pub(super) fn data_directory() -> Option<PathBuf> {
    let platform = etcetera::base_strategy::choose_native_strategy().ok()?;
    Some(platform.data_dir().join(env!("CARGO_PKG_NAME")))
}

/// Returns whether a separate file system is mounted at a path.
pub(super) fn is_mount(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The mount point is the fifth field; a blank in it is written as \040.
    mounts.lines().any(|line| {
        line.split(' ').nth(4).is_some_and(|point| Path::new(&point.replace("\\040", " ")) == path)
    })
}

/// Returns the path of ONNX Runtime's library beside the program, in `../lib` as in packages, or where `make setup` puts
/// it in the program's checkout. Otherwise, returns its name for the loader.
pub(super) fn find_onnx_runtime() -> PathBuf {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = program_directory().into_iter().flat_map(|d| [d.clone(), d.join("../lib")]);
    let of_checkout = checkout().map(|checkout| checkout.join("target/onnxruntime/library"));
    let mut candidates = beside.map(|directory| directory.join(&name)).chain(of_checkout);
    candidates.find(|path| path.is_file()).unwrap_or_else(|| name.into())
}
