//! `s3migrate import-config`: converts the predecessor's files to a `MigrationJob`, a Secret and a `ConfigMap`.
//!
//! Nothing of the input is dropped silently: each setting is converted, or a comment names it with the reason. Secrets
//! stand in the Secret only, never in a comment or an error.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

pub use convert::{Choices, Documents, convert};
pub use error::ImportError;
pub use found::Found;
pub use settings::{Becomes, SETTINGS, Setting};

mod convert;
mod error;
pub mod files;
mod found;
mod output;
mod pairs;
mod python;
mod settings;
mod values;
mod yaml;

/// Arguments of `s3migrate import-config`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportConfigArgs {
    /// The cluster's `s3_migration_cluster_config.ini`
    #[arg(long, value_name = "FILE", conflicts_with = "serverless_env")]
    pub cluster_config: Option<PathBuf>,

    /// Value of the parameter `s3_migration_bucket_para`, or what `aws ssm get-parameter` prints of it
    #[arg(long, value_name = "FILE", required_unless_present = "app_py")]
    pub bucket_para: Option<PathBuf>,

    /// Value of the parameter `s3_migration_credentials`, or what `aws ssm get-parameter --with-decryption` prints of
    /// it; `-` reads standard input. Without it the job refers to a Secret that is yet to be created
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,

    /// `s3_migration_ignore_list.txt`, or the value of its parameter
    #[arg(long, value_name = "FILE")]
    pub ignore_list: Option<PathBuf>,

    /// Environment of a Lambda function: NAME=VALUE lines, or what `aws lambda get-function-configuration` or
    /// `list-functions` prints; cdk.json too. May be repeated
    #[arg(long, value_name = "FILE")]
    pub serverless_env: Vec<PathBuf>,

    /// The CDK program app.py. Its bucket list and constants are read, nothing is executed
    #[arg(long, value_name = "FILE")]
    pub app_py: Option<PathBuf>,

    /// Region that the predecessor ran in, unless the serverless environment names it
    #[arg(long)]
    pub region: Option<String>,

    /// Region of the side that the stored credentials belong to, if --credentials is not given
    #[arg(long, value_name = "REGION", conflicts_with = "credentials")]
    pub credentials_region: Option<String>,

    /// Name of the MigrationJob
    #[arg(long, default_value = "migration")]
    pub name: String,

    /// Namespace of the resources
    #[arg(long)]
    pub namespace: Option<String>,

    /// File to write, readable by its owner only if it holds the Secret; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,

    /// File to write the Secret to instead, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub secrets: Option<PathBuf>,
}

/// Reads the files and writes the documents.
pub fn run(args: &ImportConfigArgs, out: &mut dyn Write) -> Result<(), ImportError> {
    let documents = convert(&read(args)?, &args.into())?;
    output::write(&documents, &args.output, args.secrets.as_deref(), out)
}

impl From<&ImportConfigArgs> for Choices {
    fn from(args: &ImportConfigArgs) -> Self {
        Self {
            name: args.name.clone(),
            namespace: args.namespace.clone(),
            region: args.region.clone(),
            credentials_region: args.credentials_region.clone(),
        }
    }
}

/// Reads the files, those first whose values count where others repeat them.
fn read(args: &ImportConfigArgs) -> Result<Found, ImportError> {
    let mut found = Found::default();
    if let Some(path) = &args.credentials {
        files::credentials(&text(path)?, &mut found)?;
    }
    if let Some(path) = &args.cluster_config {
        files::cluster_config(&text(path)?, &mut found)?;
    }
    for path in &args.serverless_env {
        files::serverless_env(&text(path)?, &mut found)?;
    }
    if let Some(path) = &args.bucket_para {
        files::bucket_para(&text(path)?, &mut found)?;
    }
    if let Some(path) = &args.app_py {
        files::app_py(&text(path)?, &mut found)?;
    }
    if let Some(path) = &args.ignore_list {
        files::ignore_list(&text(path)?, &mut found);
    }
    found.is_serverless &= args.cluster_config.is_none();
    Ok(found)
}

fn text(path: &Path) -> Result<String, ImportError> {
    let failed = |source| ImportError::Read { path: path.to_owned(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}
