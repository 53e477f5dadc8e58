//! Servers that die and are started again, and what they leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gelu_core::clear::Clear;
use gelu_core::client::DataPolicy;
use gelu_service::certs::Authority;
use gelu_service::server::{Ended, Observer, ServerEvent};
use gelu_service::simulation::Server;
use gelu_service::{Config, Connection, Error, Limits, ServerTls};
use gelu_store::{Engine, Memory, Store};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::books::{Books, Way};
use crate::disk::{Disk, Power};
use crate::subject::{self, Subject};
use crate::world::{Broken, World};
use crate::{laws, link};

/// All servers of a run, and where they keep their books.
pub(crate) struct Site {
    world: Arc<World>,
    medium: Medium,
    replicas: Vec<Replica>,
    quit: watch::Sender<bool>,
}

/// Where the books are.
enum Medium {
    /// A disk of one server.
    Disk(Disk),
    /// A database that servers share, which keeps its promises.
    Shared(Memory),
}

/// A server that is started again whenever it dies.
struct Replica {
    name: &'static str,
    folder: TempDir,
    running: Mutex<Option<Running>>,
}

/// A server's process.
struct Running {
    server: Server,
    power: Arc<Power>,
    tasks: JoinSet<()>,
}

impl Site {
    /// One server on a disk, or two on shared books.
    pub(crate) fn new(world: &Arc<World>) -> Result<Arc<Self>, Broken> {
        let shared = world.once_in(3);
        let medium = match shared {
            true => Medium::Shared(Memory::default()),
            false => Medium::Disk(Disk::new(world)),
        };
        if let Medium::Disk(disk) = &medium {
            // A product makes the file under another name: there is a whole one, or none.
            disk.open(&Arc::default()).map_err(|error| Broken::Setup(error.to_string()))?;
        }
        let names: &[_] = if shared { &["one", "two"] } else { &["one"] };
        let replicas = names.iter().map(|name| {
            Ok(Replica { name, folder: subject::folder()?, running: Mutex::default() })
        });
        let replicas = replicas.collect::<Result<_, Broken>>()?;
        let (world, quit) = (Arc::clone(world), watch::Sender::new(false));
        Ok(Arc::new(Self { world, medium, replicas, quit }))
    }

    /// Starts the servers. Each task ends when they are told to [quit](Self::quit).
    pub(crate) fn power_on(self: &Arc<Self>) -> JoinSet<Result<(), Broken>> {
        let mut servers = JoinSet::new();
        for number in 0..self.replicas.len() {
            let site = Arc::clone(self);
            servers.spawn(async move {
                let lived = site.live(number).await;
                // So that clients do not wait for it.
                lived.inspect_err(|broken| site.world.breaks(broken.clone()))
            });
        }
        servers
    }

    pub(crate) fn quit(&self) {
        self.quit.send_replace(true);
    }

    /// A link to a server that runs, if one does.
    pub(crate) fn dial(&self, account: &str) -> Option<DuplexStream> {
        let number = self.world.draw(0..self.replicas.len() as u64);
        let replica = &self.replicas[usize::try_from(number).unwrap_or(0)];
        let mut running = replica.running();
        let Running { server, power, tasks } = running.as_mut().filter(|r| r.power.is_on())?;
        let (client, far) = link::laid(&self.world, power, account);
        let (read, write) = tokio::io::split(far);
        tasks.spawn(server.attend(read, write, account));
        Some(client)
    }

    /// Starts a server again and again until it is told to quit.
    async fn live(&self, number: usize) -> Result<(), Broken> {
        let (replica, mut quit) = (&self.replicas[number], self.quit.subscribe());
        loop {
            let power = self.start(replica).await?;
            let told = async { drop(quit.wait_for(|quit| *quit).await) };
            tokio::select! {
                biased;
                () = power.is_off() => {}
                () = told => self.stop(replica).await,
            }
            // Whatever still runs of it is dropped here, and has no power.
            drop(replica.running().take());
            if !power.is_on() {
                self.world.count(|counts| counts.crashes += 1);
                self.world.note("crash", replica.name.as_bytes());
                self.examine_disk()?;
                sleep(self.world.time(Duration::from_secs(15))).await;
            }
            power.turn_off();
            if *self.quit.borrow() {
                return Ok(());
            }
        }
    }

    /// Ends a server as its operator does, and so that another one can start.
    async fn stop(&self, replica: &Replica) {
        let Some(Running { server, mut tasks, power }) = replica.running().take() else { return };
        server.stop();
        // Upkeep does not end by itself. Not by a signal that sessions await as well: tokio wakes those in an order that
        // no seed decides on, so nobody is asked to stop while clients are there.
        let parted = timeout(limits().grace, async { while tasks.join_next().await.is_some() {} });
        tokio::select! {
            biased;
            () = power.is_off() => {}
            _ = parted => {}
        }
        drop((server, tasks));
        // Work that was begun runs to its end.
        sleep(Duration::from_millis(50)).await;
    }

    /// Starts a server, in as many attempts as the faults of its disk leave it.
    async fn start(&self, replica: &Replica) -> Result<Arc<Power>, Broken> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            if let Some(broken) = self.world.broken() {
                return Err(broken);
            }
            let power = Arc::new(Power::default());
            if let Medium::Disk(disk) = &self.medium {
                disk.draw_faults();
            }
            match self.started(replica, &power).await {
                Ok(server) => {
                    let mut tasks = JoinSet::new();
                    tasks.spawn(server.upkeep());
                    let running = Running { server, power: Arc::clone(&power), tasks };
                    *replica.running() = Some(running);
                    return Ok(power);
                }
                Err(error) => last = Some(error),
            }
            power.turn_off();
            self.examine_disk()?;
            sleep(Duration::from_secs(1)).await;
        }
        let why = last.map(|error| error.to_string()).unwrap_or_default();
        Err(Broken::Liveness(format!("server {} does not start: {why}", replica.name)))
    }

    async fn started(&self, replica: &Replica, power: &Arc<Power>) -> Result<Server, Error> {
        let (engine, way): (Arc<dyn Engine>, _) = match &self.medium {
            Medium::Shared(memory) => (Arc::new(memory.clone()), Some(Way::drawn(&self.world))),
            Medium::Disk(disk) => (Arc::new(disk.open(power)?), None),
        };
        let (world, power) = (Arc::clone(&self.world), Arc::clone(power));
        let watching = Arc::new(Watching(Arc::clone(&self.world)));
        let store = Store::on(Books { engine, world, power, way });
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), tls()?, store);
        (config.replica, config.limits, config.observer) =
            (replica.name.into(), limits(), watching);
        Server::start(config, vec![subject::offer(&replica.folder).into()]).await
    }

    /// What the machine's end has left on its disk keeps the laws. A database that servers share has not crashed.
    fn examine_disk(&self) -> Result<(), Broken> {
        let Medium::Disk(disk) = &self.medium else { return Ok(()) };
        disk.lose_power();
        let books = disk.copy().open(&Arc::default());
        let books = books.map_err(|error| Broken::Books(error.to_string()))?;
        laws::check(&self.world, &Store::on(books))
    }

    /// After the last fault: a new server starts and answers as the model in its books does, and all laws hold.
    pub(crate) async fn judge(&self) -> Result<(), Broken> {
        let replica = &self.replicas[0];
        let power = self.start(replica).await?;
        let store = {
            let running = replica.running();
            let running = running.as_ref().ok_or(Broken::Liveness("no server".into()))?;
            running.server.store().clone()
        };
        let inputs = subject::inputs(&self.world, 2);
        let answer = self.ask(&inputs).await;
        let answer = answer.map_err(|error| Broken::Liveness(error.to_string()))?;
        let model = laws::current(&store)?.unwrap_or_else(|| Subject::get().model.clone());
        let (expected, _) =
            model.probabilities(&inputs).map_err(|error| Broken::Version(error.to_string()))?;
        if answer != expected {
            let why = format!("the server answers {answer} where its model says {expected}");
            return Err(Broken::Version(why));
        }
        laws::check(&self.world, &store)?;
        self.stop(replica).await;
        power.turn_off();
        match self.world.broken() {
            Some(broken) => Err(broken),
            None => self.examine_disk(),
        }
    }

    async fn ask(&self, inputs: &ndarray::Array2<f64>) -> Result<ndarray::Array2<f64>, Error> {
        let io = loop {
            match self.dial("judge") {
                Some(io) => break io,
                None => sleep(Duration::from_secs(1)).await,
            }
        };
        let (read, write) = tokio::io::split(io);
        let connection = Connection::<Clear>::simulated(read, write, limits()).await?;
        let policy = DataPolicy::AllowInputReconstruction;
        let mut session = connection.open(subject::key(), policy).await?;
        let answer = session.classify(inputs).await?;
        session.close().await;
        Ok(answer)
    }
}

impl Replica {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that does not start in so many attempts, seconds apart, does not start.
const ATTEMPTS: usize = 100;

/// Shorter than a product's, so that silence ends within a run.
pub(crate) fn limits() -> Limits {
    Limits {
        send: Duration::from_secs(20),
        silence: Duration::from_secs(10),
        keep_alive: Duration::from_secs(2),
        idle: Duration::from_secs(60),
        lease_silence: Duration::from_secs(15),
        lease: Duration::from_secs(120),
        grace: Duration::from_secs(5),
        computations: 2,
        ..Limits::default()
    }
}

/// Certificates that nobody looks at, made once in a process.
fn tls() -> Result<ServerTls, Error> {
    static MADE: Mutex<Option<(TempDir, ServerTls)>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, tls)) = &*made {
        return Ok(tls.clone());
    }
    let folder = TempDir::new().map_err(|error| Error::Bug(error.to_string()))?;
    let authority = Authority::create(&folder.path().join("certs"))?;
    let tls = ServerTls::read(&authority.certificate(), &authority.issue_server(&[])?)?;
    *made = Some((folder, tls.clone()));
    Ok(tls)
}

/// Sees how sessions end.
struct Watching(Arc<World>);

impl Observer for Watching {
    fn event(&self, event: &ServerEvent) {
        if let ServerEvent::Left { account, ended: Some(Ended { kind, reason }), .. } = event
            && (*kind == "bug" || *kind == "misbehaved" && account != crate::liar::ACCOUNT)
        {
            self.0.breaks(Broken::Blame(format!("the session of {account} ended: {reason}")));
        }
    }
}
