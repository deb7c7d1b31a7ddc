//! `road`: runs every step from screenshots to a results table, and shows what came out.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use tests::road;

/// Run the whole road: ingest, dataset, trainer, eval, cards.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  road demo --out demo-out\n  road real --shared ../shared --out real-out --results docs/results.md\n  road bench --shared ../shared --speed\n  road bench --many-only --many 10000 --many-changed 3000\n  road ablation --real real-out --steps 200 --seeds 5"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// On a small drawn sample.
    Demo {
        /// Folder for everything that is made; what an earlier demo made there is replaced.
        #[arg(long, default_value = "demo-out")]
        out: PathBuf,
        /// A smaller sample, for tests.
        #[arg(long)]
        short: bool,
    },
    /// On real screenshots, photographs and texts.
    Real {
        /// Folder that holds `bench/` and `data/`.
        #[arg(long, default_value = "../shared")]
        shared: PathBuf,
        /// Folder for everything that is made.
        #[arg(long, default_value = "real-out")]
        out: PathBuf,
        /// Markdown page to write the results to.
        #[arg(long)]
        results: Option<PathBuf>,
        /// Run nothing; write the results page of the run that lies in --out.
        #[arg(long, requires = "results")]
        results_only: bool,
    },
    /// Score `ingest` on the benchmark and hold each figure against the baseline and its target.
    Bench {
        /// Folder that holds `bench/` and `data/`.
        #[arg(long, default_value = "../shared")]
        shared: PathBuf,
        /// Folder of the run whose results page is written; the scores go to its `bench/`.
        #[arg(long, default_value = "real-out")]
        out: PathBuf,
        /// Markdown page to write the results to.
        #[arg(long, default_value = "docs/results.md")]
        results: PathBuf,
        /// Also time two jobs, and the baseline beside them.
        #[arg(long)]
        speed: bool,
        /// Also measure the memory for so many pages under other names, against a hundred.
        #[arg(long, value_name = "PAGES", default_value_t = 0)]
        many: usize,
        /// The same for half-size pages of which no two files are alike; each is read anew.
        #[arg(long, value_name = "PAGES", default_value_t = 0)]
        many_changed: usize,
        /// Score nothing; only measure what --many and --many-changed ask for.
        #[arg(long)]
        many_only: bool,
    },
    /// The rows of the paper's Table VII on the output of a real run, several seeds each.
    Ablation {
        /// Output folder of a finished real run.
        #[arg(long, default_value = "real-out")]
        real: PathBuf,
        /// Folder for everything that is made; a stopped command goes on from what lies there.
        #[arg(long, default_value = "real-out/ablation")]
        out: PathBuf,
        /// Training steps of each run.
        #[arg(long, default_value_t = 200)]
        steps: u64,
        /// Seeds of each row.
        #[arg(long, default_value_t = 5)]
        seeds: u64,
        /// Markdown page to write the table to.
        #[arg(long, default_value = "docs/ablation-results.md")]
        page: PathBuf,
        /// Train nothing; evaluate the runs that are finished and write the page.
        #[arg(long)]
        page_only: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Demo { out, short } => {
            road::clear_demo(&out)?;
            make(&road::plan::demo(&out, short))
        }
        Command::Real {
            shared,
            out,
            results,
            results_only,
        } => {
            let plan = road::plan::real(&shared, &out)?;
            if !results_only {
                make(&plan)?;
            }
            results.map_or(Ok(()), |path| write_results(&plan, &shared, &path))
        }
        Command::Bench {
            shared,
            out,
            results,
            speed,
            many,
            many_changed,
            many_only,
        } => {
            if !many_only {
                road::bench::run(&shared, &out, speed)?;
            }
            if many + many_changed > 0 {
                road::many::run(&shared, &out, many, many_changed)?;
            }
            write_results(&road::plan::real(&shared, &out)?, &shared, &results)
        }
        Command::Ablation {
            real,
            out,
            steps,
            seeds,
            page,
            page_only,
        } => {
            let ablation = road::ablation::Ablation {
                real,
                out,
                steps,
                seeds,
            };
            if !page_only {
                ablation.train()?;
            }
            ablation.report(&page)?;
            eprintln!("Wrote {}", page.display());
            Ok(())
        }
    }
}

fn make(plan: &road::plan::Plan) -> anyhow::Result<()> {
    let report = road::run(plan)?;
    road::finish(plan, &report)?;
    Ok(())
}

fn write_results(plan: &road::plan::Plan, shared: &Path, path: &Path) -> anyhow::Result<()> {
    road::results::write_markdown(plan, shared, path)?;
    eprintln!("Wrote {}", path.display());
    Ok(())
}
