//! Which samples: a named data set in a folder, or any CSV file; split and scaled the same way by
//! every command that is given the same seed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use gelu_nn::data::csv::{Column, Options};
use gelu_nn::data::sources;
use gelu_nn::{Activation, Dataset, Sequential, Split, Standardiser, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::problem::{Advise, problem};

/// Where the samples come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Folder of the well-known data sets, one sub-folder each (iris and digits need none)
    #[arg(long, value_name = "DIR", env = "GELU_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Name of a data set: iris, digits, diabetes, kr-vs-kp, mnist, …
    #[arg(long, value_name = "NAME", conflicts_with = "csv")]
    pub(crate) dataset: Option<String>,
    /// A table of your own; words become 0/1 columns, the header is detected
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Column of the class in --csv: a name, a number from 1, `first` or `last`
    #[arg(long, value_name = "COLUMN", default_value = "last")]
    pub(crate) label: String,
    /// Column of --csv to leave out, such as an identifier (may be given several times)
    #[arg(long, value_name = "COLUMN")]
    pub(crate) ignore: Vec<String>,
    /// Fixes the split, the first weights and the order of samples; never keys
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// A data set, split and scaled.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    pub(crate) name: String,
    pub(crate) split: Split,
}

impl DataArgs {
    /// Reads, splits (80/20 where there is no standard split) and scales.
    ///
    /// `network` decides on the data set where none was named.
    pub(crate) fn load(&self, network: Option<&str>) -> Result<Samples> {
        if let Some(csv) = &self.csv {
            return self.read_csv(csv);
        }
        let name = self.name(network)?;
        let (split, _) =
            Split::load(name, &self.folder(), self.seed).advise(|| self.where_files_are())?;
        Ok(Samples { name: name.into(), split })
    }

    /// The held-out part alone, which is all that a query needs; and the data set's name.
    pub(crate) fn load_held_out(&self, network: Option<&str>) -> Result<(String, Dataset)> {
        let standard = |name: &&str| sources().iter().find(|s| s.name == *name)?.test();
        let name = self.name(network).ok().filter(|_| self.csv.is_none());
        if let Some(test) = name.as_ref().and_then(standard) {
            let loaded = Dataset::load(test, &self.folder());
            return Ok((test.into(), loaded.advise(|| self.where_files_are())?));
        }
        let Samples { name, split } = self.load(network)?;
        Ok((name, split.test))
    }

    fn name<'a>(&'a self, network: Option<&str>) -> Result<&'a str> {
        let of_network = network.and_then(zoo::by_name).map(|entry| entry.dataset);
        self.dataset.as_deref().or(of_network).ok_or_else(|| {
            let known: Vec<_> = sources().iter().map(|source| source.name).collect();
            problem(
                "no data set was named",
                format!("add --dataset NAME ({}) or --csv FILE --label COLUMN", known.join(", ")),
            )
        })
    }

    fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_default()
    }

    fn where_files_are(&self) -> String {
        match &self.data {
            None => "add --data DIR, the folder that holds the data sets".into(),
            Some(folder) => {
                format!("`gelu train --help` lists the files expected in {}", folder.display())
            }
        }
    }

    fn read_csv(&self, path: &Path) -> Result<Samples> {
        let options = Options {
            label: Some(Column::from(self.label.as_str())),
            ignore: self.ignore.iter().map(|c| Column::from(c.as_str())).collect(),
            ..Options::default()
        };
        let next = || "see `gelu train --help` for how tables are read".into();
        let table = Dataset::from_csv(path, &options).advise(next)?;
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let mut split = table.stratified_split(0.2, &mut rng)?;
        let scaling = Standardiser::fit(&split.train);
        scaling.apply(&mut split.train)?;
        scaling.apply(&mut split.test)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Samples { name, split })
    }
}

/// A network for `samples`: by its name in the zoo, from an architecture file, or the one that the
/// zoo has for this data set; one hidden layer where it has none.
pub(crate) fn network(wanted: Option<&str>, samples: &Samples) -> Result<(String, Sequential)> {
    let entry = match wanted {
        Some(name) => zoo::by_name(name),
        None => zoo::entries().iter().find(|entry| entry.dataset == samples.name),
    };
    let (inputs, classes) = (samples.split.train.inputs(), samples.split.train.classes());
    let (name, network) = match (entry, wanted) {
        (Some(entry), _) => (entry.name.to_owned(), (entry.architecture)()),
        (None, Some(file)) => (samples.name.clone(), read_architecture(Path::new(file))?),
        (None, None) => {
            let hidden = (inputs + classes).clamp(4, 16);
            let network = Sequential::dense(inputs, &[hidden], classes, Activation::Sigmoid)?;
            (samples.name.clone(), network)
        }
    };
    if network.input().features() != inputs || network.classes() != classes {
        return Err(problem(
            format!(
                "the network takes {} inputs and tells {} classes apart, but the data has {inputs} \
                 and {classes}",
                network.input().features(),
                network.classes()
            ),
            "choose another --network; without it, gelu makes one that fits",
        ));
    }
    Ok((name, network))
}

fn read_architecture(path: &Path) -> Result<Sequential> {
    let names: Vec<_> = zoo::entries().iter().map(|entry| entry.name).collect();
    let json = std::fs::read_to_string(path).map_err(anyhow::Error::from).map_err(|error| {
        problem(
            format!(
                "{} is neither a network that gelu knows nor a readable file: {error}",
                path.display()
            ),
            format!("name one of {}, or a JSON file with an architecture", names.join(", ")),
        )
    })?;
    Ok(Sequential::from_json(&json)?)
}
