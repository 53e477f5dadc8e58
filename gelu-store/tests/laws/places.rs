//! Where the books of a test are.

use std::sync::Arc;

use gelu_store::{Engine, Memory, Redb, Store};
use tempfile::TempDir;

/// Where the books of a test are, until it ends.
pub(crate) enum Place {
    Memory(Memory),
    Redb(TempDir),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Schema),
}

impl Place {
    pub(crate) fn memory() -> Self {
        Self::Memory(Memory::default())
    }

    pub(crate) fn redb() -> Self {
        Self::Redb(tempfile::tempdir().unwrap())
    }

    /// `None` where no database is given, which is said.
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres() -> Option<Self> {
        let Ok(url) = std::env::var("GELU_TEST_POSTGRES") else {
            println!("skipped: GELU_TEST_POSTGRES has no address of a database");
            return None;
        };
        Some(Self::Postgres(postgres::Schema::new(url)))
    }

    /// None in this build, which is said.
    #[cfg(not(feature = "postgres"))]
    pub(crate) fn postgres() -> Option<Self> {
        assert!(
            std::env::var("GELU_TEST_POSTGRES").is_err(),
            "GELU_TEST_POSTGRES is set, and these tests were built without the feature postgres"
        );
        println!("skipped: built without the feature postgres");
        None
    }

    /// Opens it as a server does that starts. A file has one server, which has to end before the next one starts.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(memory) => Arc::new(memory.clone()),
            Self::Redb(folder) => Arc::new(Redb::open(&folder.path().join("store")).unwrap()),
            #[cfg(feature = "postgres")]
            Self::Postgres(schema) => Arc::new(schema.engine()),
        }
    }

    /// Two servers of the same books, where that is possible; else one, twice.
    pub(crate) fn two(&self) -> [Arc<dyn Engine>; 2] {
        match self {
            Self::Redb(_) => {
                let one = self.engine();
                [one.clone(), one]
            }
            _ => [self.engine(), self.engine()],
        }
    }

    pub(crate) fn store(&self) -> Store {
        Store::on(self.engine())
    }

    /// What another process finds it by.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::Memory(_) => panic!("memory ends with its process"),
            Self::Redb(folder) => folder.path().join("store").display().to_string(),
            #[cfg(feature = "postgres")]
            Self::Postgres(schema) => schema.url.clone(),
        }
    }
}

#[cfg(feature = "postgres")]
pub(crate) use postgres::{Schema, execute};

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::atomic::{AtomicU32, Ordering};

    use gelu_store::{Location, Postgres};

    /// A schema of a test's own, which goes with it.
    pub(crate) struct Schema {
        pub(crate) database: String,
        pub(crate) name: String,
        pub(crate) url: String,
    }

    impl Schema {
        pub(super) fn new(database: String) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("laws_{}_{number}", std::process::id());
            execute(&database, &format!("CREATE SCHEMA {name}"));
            let sign = if database.contains('?') { '&' } else { '?' };
            let own = format!("options=-csearch_path%3D{name}&application_name={name}");
            let url = format!("{database}{sign}{own}");
            Self { database, name, url }
        }

        pub(crate) fn engine(&self) -> Postgres {
            let Ok(Location::Postgres(url)) = self.url.parse() else { panic!("{}", self.url) };
            Postgres::open(&url).unwrap()
        }

        pub(crate) fn execute(&self, sql: &str) {
            execute(&self.database, sql);
        }
    }

    impl Drop for Schema {
        fn drop(&mut self) {
            execute(&self.database, &format!("DROP SCHEMA {} CASCADE", self.name));
        }
    }

    pub(crate) fn execute(database: &str, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let connecting = tokio_postgres::connect(database, tokio_postgres::NoTls);
            let (client, connection) = connecting.await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(sql).await.unwrap();
        });
    }
}
