//! `s3migrate crd`, `completion` and `man`: what is generated from the types and the command line itself.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

/// Arguments of `s3migrate crd`, of which there are none.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CrdArgs {}

/// Arguments of `s3migrate completion`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell that is to complete commands
    pub shell: Shell,
}

/// Arguments of `s3migrate man`.
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// Directory to write the pages to, one for each command; it is created
    pub directory: PathBuf,
}

/// Why nothing could be generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The definition could not be serialized.
    #[error("failed to write CRD: {0}")]
    Crd(#[from] serde_yaml::Error),
    /// Standard output could not be written.
    #[error("failed to write output: {0}")]
    Output(#[from] io::Error),
    /// The pages could not be written.
    #[error("failed to write man pages to {directory}: {source}")]
    Man {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Prints the custom resource definition of `MigrationJob` as YAML.
pub fn crd(CrdArgs {}: CrdArgs, out: &mut dyn Write) -> Result<(), GenerateError> {
    Ok(out.write_all(migration_api::crd::yaml()?.as_bytes())?)
}

/// Prints the script by which a shell completes the program's commands.
pub fn completion(args: CompletionArgs, command: &mut Command, out: &mut dyn Write) -> Result<(), GenerateError> {
    let name = command.get_name().to_owned();
    // The library ends the process if its output can't be written; memory can.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, name, &mut script);
    Ok(out.write_all(&script)?)
}

/// Writes a man page for the program and for each of its commands, and prints their names.
pub fn man(args: &ManArgs, command: &mut Command, out: &mut dyn Write) -> Result<(), GenerateError> {
    let directory = &args.directory;
    let failed = |source| GenerateError::Man { directory: directory.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(command.clone(), directory).map_err(failed)?;
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        pages.push(entry.map_err(failed)?.file_name());
    }
    pages.sort();
    for page in pages {
        writeln!(out, "{}", directory.join(page).display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Subcommand};

    /// A program with all commands of this kind.
    fn command() -> Command {
        #[derive(Subcommand)]
        #[allow(dead_code, reason = "only its commands are looked at")]
        enum All {
            /// Print the custom resource definition
            Crd(CrdArgs),
            /// Print completions
            Completion(CompletionArgs),
            /// Write man pages
            Man(ManArgs),
            /// Convert a configuration
            ImportConfig(crate::import_config::ImportConfigArgs),
            /// Print policies
            IamPolicy(crate::iam_policy::IamPolicyArgs),
        }
        let command = All::augment_subcommands(Command::new("s3migrate").version("1"));
        CrdArgs::augment_args(command)
    }

    #[test]
    fn arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_definition_is_the_committed_one() {
        let mut out = Vec::new();
        crd(CrdArgs {}, &mut out).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/migrationjobs.yaml");
        assert!(out == std::fs::read(path).unwrap(), "crds/migrationjobs.yaml is stale");
    }

    #[test]
    fn each_shell_completes_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut out = Vec::new();
            completion(CompletionArgs { shell }, &mut command(), &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(script.contains("import-config") && script.contains("bucket-para"), "{shell}");
        }
    }

    #[test]
    fn each_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let args = ManArgs { directory: directory.path().join("man") };
        let mut out = Vec::new();
        man(&args, &mut command(), &mut out).unwrap();
        for name in
            ["s3migrate", "s3migrate-crd", "s3migrate-completion", "s3migrate-import-config", "s3migrate-iam-policy"]
        {
            let page = std::fs::read_to_string(args.directory.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".TH"), "{name}");
            assert!(String::from_utf8_lossy(&out).contains(&format!("{name}.1\n")), "{name}");
        }
    }
}
