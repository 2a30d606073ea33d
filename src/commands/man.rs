//! Manual pages, written from the command line's definition.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::cli::{Cli, ManArgs};
use super::status::print;

/// Register of groff's man macros: no word is hyphenated. A name of an environment variable that is
/// broken over two lines cannot be searched for or copied.
const NO_HYPHENS: &str = ".nr HY 0\n";

/// Runs `man`.
pub fn show(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let pages = pages()?;
    if let Some(dir) = &args.dir {
        return write(&pages, dir);
    }
    let program = Cli::command().get_name().to_owned();
    let name = args.command.as_ref().map_or(program.clone(), |one| format!("{program}-{one}"));
    let Some((_, text)) = pages.iter().find(|(file, _)| *file == format!("{name}.1")) else {
        bail!("there is no command {}", args.command.as_deref().unwrap_or_default());
    };
    Ok(print(text.trim_end()))
}

/// Name of the file and text of each page.
fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let commands = std::iter::once(&root).chain(root.get_subcommands());
    commands.map(page).collect()
}

fn page(command: &Command) -> anyhow::Result<(String, String)> {
    let man = Man::new(command.clone());
    let mut text = NO_HYPHENS.as_bytes().to_vec();
    man.render(&mut text)?;
    Ok((man.get_filename(), String::from_utf8(text)?))
}

fn write(pages: &[(String, String)], dir: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (file, text) in pages {
        let path = dir.join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
