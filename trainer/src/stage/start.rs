//! From the command line to a run folder: which config, which folder, fresh or continued.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::config::{StageConfig, load};
use crate::run_folder::{CONFIG_FILE, RunFolder, Standing, check_datasets, open};

/// What the command line asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--set`, each `key=value`.
    pub set: Vec<String>,
    /// `--device`
    pub device: Option<String>,
    /// `--out`
    pub out: Option<PathBuf>,
    /// `--resume`
    pub resume: Option<PathBuf>,
}

/// A config with its run folder, held by this process.
pub struct Started<C> {
    /// Resolved config.
    pub config: C,
    /// The run folder.
    pub run: RunFolder,
    /// Fresh, to be continued, or done.
    pub standing: Standing,
}

/// Reads the config that `request` means, without touching a run folder.
///
/// # Errors
/// No config, or one that cannot be used.
pub fn resolve<C: StageConfig>(request: &Request) -> Result<C> {
    let mut config: C = match (&request.resume, &request.config) {
        (Some(run), given) => {
            if !request.set.is_empty() {
                bail!(
                    "--resume continues a run as it is, so --set cannot change it; start a new run with --config and --out"
                );
            }
            let path = run.join(CONFIG_FILE);
            if !path.is_file() {
                bail!("{}: there is no run to continue here (no {CONFIG_FILE})", run.display());
            }
            let config: C = load(&path, &[]).with_context(|| format!("{} is no {} run", run.display(), C::KIND))?;
            if let Some(given) = given {
                let other: C = load(given, &[])?;
                if other.essence() != config.essence() {
                    bail!(
                        "{} is not the config of the run {}; leave --config out to continue it",
                        given.display(),
                        run.display()
                    );
                }
            }
            config
        }
        (None, Some(path)) => load(path, &request.set)?,
        (None, None) => bail!("give --config FILE, or --resume RUN to continue a run"),
    };
    if let Some(device) = &request.device {
        config.set_device(device);
    }
    if let Some(out) = request.out.as_ref().or(request.resume.as_ref()) {
        if let (Some(out), Some(resume)) = (&request.out, &request.resume)
            && out != resume
        {
            bail!(
                "--out {} and --resume {} name two folders; a continued run stays in its own",
                out.display(),
                resume.display()
            );
        }
        config.set_out(&out.to_string_lossy());
    }
    Ok(config)
}

/// Resolves the config and opens its run folder.
///
/// # Errors
/// As [`resolve`], the folder cannot be used, or its run was begun with other data.
pub fn start<C: StageConfig>(request: &Request) -> Result<Started<C>> {
    let config: C = resolve(request)?;
    if config.out().is_empty() {
        bail!("there is no run folder: give --out RUN or set `out` in the config");
    }
    let (run, standing) = open(&PathBuf::from(config.out()), &config)?;
    if !matches!(standing, Standing::Fresh) {
        check_datasets(&run.path, config.datasets(), matches!(standing, Standing::Done))?;
    }
    Ok(Started { config, run, standing })
}
