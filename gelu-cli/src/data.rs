//! Which samples: a named data set in a folder, or any CSV file; split and scaled the same way by
//! every command that is given the same seed.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use gelu_nn::data::csv::{Column, Options};
use gelu_nn::data::sources;
use gelu_nn::{Activation, Dataset, Recipe, Sequential, Split, Standardiser, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::problem::{Advise, problem};

/// Where the samples come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Folder of the well-known data sets, one sub-folder each (iris, digits and abstracts need none)
    #[arg(long, value_name = "DIR", env = "GELU_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Name of a data set: iris, digits, abstracts, diabetes, kr-vs-kp, mnist, …
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
    /// Rows of these classes only, by name; they become all the classes there are, in this order
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    pub(crate) classes: Vec<String>,
    /// Fixes the split, the first weights and the order of samples; never keys
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// A data set, split and scaled.
#[derive(Debug, Clone)]
pub(crate) struct Samples {
    pub(crate) name: String,
    /// Whether it is the well-known data set of that name, for which the zoo may have a network. A
    /// file can have any name.
    well_known: bool,
    /// Whether its classes were chosen from among those of the data set.
    chosen: bool,
    pub(crate) split: Split,
}

impl DataArgs {
    /// Reads, splits (80/20 where there is no standard split) and scales.
    ///
    /// `network` decides on the data set where none was named.
    pub(crate) fn load(&self, network: Option<&str>) -> Result<Samples> {
        if let Some(csv) = &self.csv {
            let mut samples = self.read_csv(csv)?;
            let scaling = Standardiser::fit(&samples.split.train);
            scaling.apply(&mut samples.split.train)?;
            scaling.apply(&mut samples.split.test)?;
            return Ok(samples);
        }
        let name = self.name(network)?;
        let (split, _) =
            Split::load(name, &self.folder(), self.seed).advise(|| self.where_files_are())?;
        self.samples(name, split)
    }

    /// As [`load`](Self::load), with the features as they are, of the data set `otherwise` where none was named; and
    /// whether they are measurements of different scales.
    pub(crate) fn load_unscaled(&self, otherwise: &str) -> Result<(Samples, bool)> {
        if let Some(csv) = &self.csv {
            return Ok((self.read_csv(csv)?, true));
        }
        let name = self.dataset.as_deref().unwrap_or(otherwise);
        let split =
            Split::unscaled(name, &self.folder(), self.seed).advise(|| self.where_files_are())?;
        let is_table = sources().iter().any(|source| source.name == name && source.is_table());
        Ok((self.samples(name, split)?, is_table))
    }

    fn samples(&self, name: &str, split: Split) -> Result<Samples> {
        let split = self.of_classes(split)?;
        Ok(Samples { name: name.into(), well_known: true, chosen: !self.classes.is_empty(), split })
    }

    /// The rows of the chosen classes.
    pub(crate) fn of_classes(&self, split: Split) -> Result<Split> {
        Ok(Split {
            train: self.rows_of_classes(split.train)?,
            test: self.rows_of_classes(split.test)?,
        })
    }

    fn rows_of_classes(&self, rows: Dataset) -> Result<Dataset> {
        match &self.classes[..] {
            [] => Ok(rows),
            classes => rows.only(classes).advise(|| "choose other --classes".into()),
        }
    }

    /// The held-out part alone, which is all that a query needs; and the data set's name.
    pub(crate) fn load_held_out(&self, network: Option<&str>) -> Result<(String, Dataset)> {
        let standard = |name: &&str| sources().iter().find(|s| s.name == *name)?.test();
        let name = self.name(network).ok().filter(|_| self.csv.is_none());
        if let Some(test) = name.as_ref().and_then(standard) {
            let loaded = Dataset::load(test, &self.folder());
            let rows = self.rows_of_classes(loaded.advise(|| self.where_files_are())?)?;
            return Ok((test.into(), rows));
        }
        let Samples { name, split, .. } = self.load(network)?;
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

    /// How a table is read whose classes are in the column `label`, if it has any.
    pub(crate) fn csv_options(&self, label: Option<Column>) -> Options {
        let ignore = self.ignore.iter().map(|column| column.as_str().into()).collect();
        Options { label, ignore, ..Options::default() }
    }

    fn read_csv(&self, path: &Path) -> Result<Samples> {
        let options = self.csv_options(Some(self.label.as_str().into()));
        let next = || "see `gelu train --help` for how tables are read".into();
        let table = Dataset::from_csv(path, &options).advise(next)?;
        let mut rng = ChaCha20Rng::seed_from_u64(self.seed);
        let split = self.of_classes(table.stratified_split(0.2, &mut rng)?)?;
        let name = stem(path);
        Ok(Samples { name, well_known: false, chosen: !self.classes.is_empty(), split })
    }
}

/// What data in a file is called.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A network to train, and how it is trained in the clear.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    pub(crate) architecture: Sequential,
    pub(crate) recipe: Recipe,
}

/// A network for `samples`: by its name in the zoo, from an architecture file, or the one that the
/// zoo has for this data set; one hidden layer where it has none that fits.
pub(crate) fn network(wanted: Option<&str>, samples: &Samples) -> Result<Chosen> {
    let (inputs, classes) = (samples.split.train.inputs(), samples.split.train.classes());
    let fits =
        |network: &Sequential| network.input().features() == inputs && network.classes() == classes;
    let of_zoo = |entry: &zoo::Entry| Chosen {
        name: entry.name.into(),
        architecture: (entry.architecture)(),
        recipe: entry.recipe,
    };
    let of_data = |architecture| Chosen {
        name: samples.name.clone(),
        architecture,
        recipe: Recipe::default(),
    };
    let Some(wanted) = wanted else {
        let made_for = |entry: &&zoo::Entry| samples.well_known && entry.dataset == samples.name;
        let made = zoo::entries().iter().find(made_for).map(of_zoo);
        if let Some(chosen) = made.filter(|chosen| fits(&chosen.architecture)) {
            return Ok(chosen);
        }
        let hidden = (inputs + classes).clamp(4, 16);
        return Ok(of_data(Sequential::dense(inputs, &[hidden], classes, Activation::Sigmoid)?));
    };
    let mut chosen = match zoo::by_name(wanted) {
        Some(entry) => of_zoo(entry),
        None => of_data(read_architecture(Path::new(wanted))?),
    };
    // Where classes were chosen the network tells those apart: its last layer follows.
    let last = chosen.architecture.blocks().len() - 1;
    if samples.chosen && chosen.architecture.classes() != classes {
        let frozen = chosen.architecture.frozen();
        chosen.architecture = chosen.architecture.with_head(last, &[], classes)?.freeze(frozen)?;
    }
    if !fits(&chosen.architecture) {
        return Err(problem(
            format!(
                "the network takes {} inputs and tells {} classes apart, but the data has {inputs} \
                 and {classes}",
                chosen.architecture.input().features(),
                chosen.architecture.classes()
            ),
            "choose another --network, or leave it out: gelu then makes one that fits",
        ));
    }
    Ok(chosen)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A file may be called like a data set, or like a network: it gets what any other table gets.
    #[test]
    fn a_table_gets_its_own_network_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["iris", "diabetes", "digits", "mnist", "lenet5", "table"] {
            let path = folder.path().join(name).with_extension("csv");
            let rows =
                (0..12).map(|i| format!("{i},{},{}\n", i % 5, if i < 6 { "a" } else { "b" }));
            std::fs::write(&path, "x,y,class\n".to_owned() + &rows.collect::<String>()).unwrap();
            let samples = arguments(&["--csv", path.to_str().unwrap()]).load(None).unwrap();
            let chosen = network(None, &samples).unwrap();
            assert_eq!((chosen.name.as_str(), chosen.architecture.classes()), (name, 2));
            assert_eq!(chosen.recipe, Recipe::default(), "{name}");
            let error = network(Some("lenet5"), &samples).unwrap_err();
            assert!(error.to_string().contains("784 inputs"), "{error}");
        }
    }

    #[test]
    fn a_well_known_data_set_gets_the_network_of_the_zoo() {
        let samples = arguments(&["--dataset", "iris"]).load(None).unwrap();
        let chosen = network(None, &samples).unwrap();
        assert_eq!(chosen.architecture, zoo::iris());
        assert_ne!(chosen.recipe, Recipe::default());
    }

    fn arguments(words: &[&str]) -> DataArgs {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            data: DataArgs,
        }
        <Alone as clap::Parser>::parse_from(["gelu"].iter().chain(words)).data
    }
}
