//! Which samples: a named data set in a folder, any CSV file, or images with classes; split and scaled the same way by
//! every command that is given the same seed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use gelu_nn::data::{labelled, sources};
use gelu_nn::schema::{Labels, ReadOptions, Scaling};
use gelu_nn::{Activation, Dataset, Model, Recipe, Schema, Sequential, Split, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::problem::{Advise, problem};
use crate::table::{MissingArg, TableArgs, how_tables_are_read, read_schema};

/// Where the samples come from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Folder of the well-known data sets, one sub-folder each (iris, digits and abstracts need none)
    #[arg(long, value_name = "DIR", env = "GELU_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Name of a data set: iris, digits, abstracts, diabetes, kr-vs-kp, mnist, …
    #[arg(long, value_name = "NAME", conflicts_with_all = ["csv", "images"])]
    pub(crate) dataset: Option<String>,
    /// A table of your own; read by the model's schema, or by one made for it (`gelu schema infer`)
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Images of your own: a folder of PNG files for each class, in one folder; or CIFAR-10, its folder or a file of it
    #[arg(long, value_name = "PATH", conflicts_with = "csv")]
    pub(crate) images: Option<PathBuf>,
    /// Rows of these classes only, by name; for a new model they become all the classes there are, in this order
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    pub(crate) classes: Vec<String>,
    /// Fixes the split, the first weights and the order of samples; never keys
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What the columns mean, as `gelu schema infer` writes it [default: the model's, or inferred]
    #[arg(long, value_name = "FILE", help_heading = "Tables")]
    pub(crate) schema: Option<PathBuf>,
    /// What a schema that is inferred does where there is no value
    #[arg(long, value_enum, default_value_t = MissingArg::Refuse, help_heading = "Tables")]
    pub(crate) missing: MissingArg,
    #[command(flatten)]
    pub(crate) table: TableArgs,
}

/// Who decides what the columns and classes of the data mean.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meaning<'a> {
    /// The data itself, or the schema that was named: a new model is made of it.
    Own,
    /// The schema of the model that it is for, if that has one.
    Model(Option<&'a Schema>),
    /// The same for the features; the classes are the data's own.
    Base(Option<&'a Schema>),
}

impl<'a> Meaning<'a> {
    /// That of a model's schema.
    pub(crate) fn of(model: &'a Model) -> Self {
        Self::Model(model.schema().map(AsRef::as_ref))
    }
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
    /// By which it was read and scaled.
    pub(crate) schema: Schema,
}

impl Samples {
    /// The schema of a model that is made of these rows; none where it has other inputs or classes.
    pub(crate) fn schema_for_model(&self, architecture: &Sequential) -> Option<Schema> {
        let of_model = (architecture.input().features(), architecture.classes());
        let fits = (self.schema.inputs(), self.schema.classes().len()) == of_model;
        fits.then(|| self.schema.clone())
    }
}

impl DataArgs {
    /// Reads, splits (80/20 where there is no standard split) and scales.
    ///
    /// `network` decides on the data set where none was named.
    pub(crate) fn load(&self, network: Option<&str>, meaning: Meaning<'_>) -> Result<Samples> {
        if let Some(csv) = &self.csv {
            return self.read_csv(csv, meaning, Scaling::Standard);
        }
        let known = match self.images {
            Some(_) => None,
            None => Some(self.name(network)?),
        };
        let (mut split, mut schema) = self.unscaled(known)?;
        if let Some(theirs) = self.schema_for(meaning)? {
            schema = match meaning {
                Meaning::Base(_) => theirs.with_label(schema.label().cloned())?,
                _ => theirs,
            };
            split = Split { train: schema.adopt(&split.train)?, test: schema.adopt(&split.test)? };
        }
        let is_fitted = matches!(meaning, Meaning::Model(Some(_)) | Meaning::Base(Some(_)));
        if known.is_some_and(is_table) && !is_fitted {
            schema = schema.fit(&split.train)?;
        }
        schema.apply(&mut split.train)?;
        schema.apply(&mut split.test)?;
        Ok(self.samples(known, split, schema))
    }

    /// As [`load`](Self::load) for a new model, with the features as they are, of the data set `otherwise` where none
    /// was named; and whether they are measurements of different scales.
    pub(crate) fn load_unscaled(&self, otherwise: &str) -> Result<(Samples, bool)> {
        if let Some(csv) = &self.csv {
            return Ok((self.read_csv(csv, Meaning::Own, Scaling::None)?, true));
        }
        let known = match self.images {
            Some(_) => None,
            None => Some(self.dataset.as_deref().unwrap_or(otherwise)),
        };
        let (split, schema) = self.unscaled(known)?;
        Ok((self.samples(known, split, schema), known.is_some_and(is_table)))
    }

    /// A well-known data set, or the images, as they are, with the rows of the chosen classes.
    fn unscaled(&self, known: Option<&str>) -> Result<(Split, Schema)> {
        let (split, schema) = match (known, &self.images) {
            (None, Some(path)) => {
                let advice = || "give a folder with a folder of PNG files for each class".into();
                let (all, schema) = labelled::open(path).advise(advice)?;
                (all.stratified_split(0.2, &mut ChaCha20Rng::seed_from_u64(self.seed))?, schema)
            }
            (name, _) => {
                let name = name.unwrap_or_default();
                let read = Split::unscaled_with_schema(name, &self.folder(), self.seed);
                read.advise(|| self.where_files_are(name))?
            }
        };
        let split = self.of_classes(split)?;
        let schema = match &self.classes[..] {
            [] => schema,
            classes => schema.with_classes(classes)?,
        };
        Ok((split, schema))
    }

    /// The schema that decides, where it is not the data's own. One that was named beside a model's must be the
    /// same.
    fn schema_for(&self, meaning: Meaning<'_>) -> Result<Option<Schema>> {
        let named = self.schema.as_deref().map(read_schema).transpose()?;
        match (meaning, named) {
            (Meaning::Own | Meaning::Model(None) | Meaning::Base(None), named) => Ok(named),
            (Meaning::Model(Some(theirs)), Some(named)) if named.hash() != theirs.hash() => {
                Err(problem(
                    format!(
                        "--schema has the hash {}, but the model's schema has {}",
                        named.hash(),
                        theirs.hash()
                    ),
                    "leave out --schema: the model brings its own",
                ))
            }
            (Meaning::Model(Some(theirs)) | Meaning::Base(Some(theirs)), _) => {
                Ok(Some(theirs.clone()))
            }
        }
    }

    fn samples(&self, known: Option<&str>, split: Split, schema: Schema) -> Samples {
        let chosen = !self.classes.is_empty();
        let of_images = || self.images.as_deref().map(stem).unwrap_or_default();
        let name = known.map_or_else(of_images, str::to_owned);
        Samples { name, well_known: known.is_some(), chosen, split, schema }
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
    pub(crate) fn load_held_out(
        &self,
        network: Option<&str>,
        meaning: Meaning<'_>,
    ) -> Result<(String, Dataset)> {
        let standard = |name: &&str| sources().iter().find(|s| s.name == *name)?.test();
        let is_known = self.csv.is_none() && self.images.is_none();
        let name = self.name(network).ok().filter(|_| is_known);
        if let Some(test) = name.as_ref().and_then(standard) {
            let loaded = Dataset::load(test, &self.folder());
            let mut rows = self.rows_of_classes(loaded.advise(|| self.where_files_are(test))?)?;
            if let Some(schema) = self.schema_for(meaning)? {
                rows = schema.adopt(&rows)?;
                schema.apply(&mut rows)?;
            }
            return Ok((test.into(), rows));
        }
        let Samples { name, split, .. } = self.load(network, meaning)?;
        Ok((name, split.test))
    }

    /// New rows for a model, which need no label.
    pub(crate) fn new_rows(&self, path: &Path, meaning: Meaning<'_>) -> Result<Dataset> {
        check_there(path)?;
        let Some(schema) = self.schema_for(meaning)? else { return Err(no_schema()) };
        schema.dataset(path, &self.table.options(Labels::Ignored)).advise(how_tables_are_read)
    }

    fn name<'a>(&'a self, network: Option<&str>) -> Result<&'a str> {
        let of_network = network.and_then(zoo::by_name).map(|entry| entry.dataset);
        self.dataset.as_deref().or(of_network).ok_or_else(|| {
            let known: Vec<_> = sources().iter().map(|source| source.name).collect();
            problem(
                "no data set was named",
                format!(
                    "add --dataset NAME ({}) --csv FILE --label COLUMN, or --images FOLDER",
                    known.join(", ")
                ),
            )
        })
    }

    fn folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_default()
    }

    fn where_files_are(&self, name: &str) -> String {
        match &self.data {
            _ if sources().iter().all(|source| source.name != name) => {
                "choose one of those (`gelu datasets`), or give a table of your own with --csv FILE"
                    .into()
            }
            None => "add --data DIR, the folder that holds the data sets".into(),
            Some(folder) => {
                format!("`gelu train --help` lists the files expected in {}", folder.display())
            }
        }
    }

    fn read_csv(&self, path: &Path, meaning: Meaning<'_>, scaling: Scaling) -> Result<Samples> {
        check_there(path)?;
        let theirs = self.schema_for(meaning)?;
        let (schema, scaling) = match (theirs, meaning) {
            (Some(schema), Meaning::Own) => (schema, scaling),
            (None, Meaning::Own) => (self.table.infer(path, self.missing)?, scaling),
            (Some(theirs), Meaning::Model(_)) => (theirs, Scaling::Given),
            (Some(theirs), Meaning::Base(_)) => {
                let own = self.table.infer(path, self.missing)?;
                (theirs.with_label(own.label().cloned())?, Scaling::Given)
            }
            (None, Meaning::Model(_) | Meaning::Base(_)) => {
                return Err(no_schema());
            }
        };
        let known = |class: &&String| schema.classes().contains(class);
        if let Some(wanted) = self.classes.iter().find(|class| !known(class)) {
            return Err(problem(
                format!(
                    "there is no class {wanted:?}; the classes are {}",
                    schema.classes().join(", ")
                ),
                "choose other --classes",
            ));
        }
        let schema = match (meaning, &self.classes[..]) {
            (Meaning::Model(_), _) | (_, []) => schema,
            (_, classes) => schema.with_classes(classes)?,
        };
        let options =
            ReadOptions { classes: self.classes.clone(), ..self.table.options(Labels::Required) };
        let (schema, split) =
            schema.split(path, &options, scaling, self.seed).advise(how_tables_are_read)?;
        let chosen = !self.classes.is_empty();
        Ok(Samples { name: stem(path), well_known: false, chosen, split, schema })
    }
}

fn no_schema() -> anyhow::Error {
    problem(
        "the model has no schema: nothing says which column is which and how numbers are scaled",
        "make the model again with this program, or name the schema of its training rows with --schema",
    )
}

fn is_table(name: &str) -> bool {
    sources().iter().any(|source| source.name == name && source.is_table())
}

/// Refuses a file that is not there, before anybody says how such files are read.
///
/// # Errors
/// Names the file.
pub(crate) fn check_there(path: &Path) -> Result<()> {
    std::fs::metadata(path).map(drop).with_context(|| path.display().to_string())
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
            let samples =
                arguments(&["--csv", path.to_str().unwrap()]).load(None, Meaning::Own).unwrap();
            let chosen = network(None, &samples).unwrap();
            assert_eq!((chosen.name.as_str(), chosen.architecture.classes()), (name, 2));
            assert_eq!(chosen.recipe, Recipe::default(), "{name}");
            let error = network(Some("lenet5"), &samples).unwrap_err();
            assert!(error.to_string().contains("784 inputs"), "{error}");
        }
    }

    #[test]
    fn a_well_known_data_set_gets_the_network_of_the_zoo() {
        let samples = arguments(&["--dataset", "iris"]).load(None, Meaning::Own).unwrap();
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
