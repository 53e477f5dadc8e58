//! What is attacked: the first layer of a served model, and a server that answers questions.

use std::sync::Arc;

use gelu_core::backend::Layout;
use gelu_core::error::PeerMisbehaved;
use gelu_core::ledger::Policy;
use gelu_core::linear::Taps;
use gelu_core::message::{ClientMessage, ServerMessage};
use gelu_core::pair::PairHost;
use gelu_core::pass::bias_constant;
use gelu_core::plan::{Plan, Purpose};
use gelu_core::server::{Host, ServedModel, Server};
use gelu_core::slots::{AdditiveHE, Matrix, Plaintext, SlotBackend, SlotShape, seal};
use gelu_core::{Backend, Pass, Result, Update};
use gelu_nn::{Dataset, Model, Recipe, zoo};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use rand_core::CryptoRng;

use crate::networks;
use crate::setting::Setting;
use crate::{Error, learning};

/// The network whose first layer is attacked, 784 inputs and 300 outputs, and where its weights come
/// from: a trained model if there is one, one trained now if there is data, else random weights.
///
/// # Errors
/// When a model or a data set cannot be read.
pub fn model(setting: &Setting) -> Result<(Model, &'static str), Error> {
    if let Some(model) = networks::kept("mnist-dense", setting)? {
        return Ok((model, "the trained model that was given"));
    }
    let images = setting.data.as_ref().map(|dir| Dataset::load("mnist-test", dir));
    let Some(images) = images.transpose()? else {
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let usual = gelu_core::Precision::INFERENCE;
        let model = Model::initialise("mnist-dense", zoo::mnist_dense(), usual, rng)?;
        return Ok((model, "random weights, as before training (--data DIR trains it)"));
    };
    let recipe = Recipe { epochs: 2, batch: 32, rate: 0.1, ..Recipe::default() };
    let architecture = zoo::mnist_dense();
    let weights = learning::trained(&architecture, recipe, &images, setting.seed, || ())?;
    let model = learning::for_queries("mnist-dense", architecture, &weights)?;
    Ok((model, "trained in this run: two epochs on the 10 000 test images of MNIST"))
}

/// The first layer of a model as a server evaluates it for one sample.
#[derive(Debug, Clone)]
pub struct Target {
    taps: Taps,
    inputs: usize,
    weights: Vec<i128>,
    /// What is added to each output: the bias in the output's scale.
    offsets: Vec<i128>,
    /// Bits of a weight, sign included.
    pub weight_bits: usize,
    /// What the server believes a response to hold: one sum.
    pub slot: SlotShape,
}

impl Target {
    /// The first layer of `model`, planned for a client with this key.
    ///
    /// # Errors
    /// What the range analysis says.
    pub fn first_layer<H: SlotBackend>(model: &Model, public: &H::PublicKey) -> Result<Self> {
        let (network, precision) = (model.network(), model.precision());
        let plan = Plan::new::<H>(network, precision, 1, Purpose::Inference, public)?;
        let (linear, layer) = (&network.stages()[0].linear, &model.parameters().layers[0]);
        let constant = bias_constant(linear, precision.activations);
        let offset = |output| constant * layer.biases[linear.bias_of(output)];
        Ok(Self {
            taps: linear.forward_taps(),
            inputs: linear.inputs(),
            weights: linear.entries(&layer.weights),
            offsets: (0..linear.outputs()).map(offset).collect(),
            weight_bits: (precision.weights.integer + precision.weights.fraction + 1) as usize,
            slot: SlotShape { bits: plan.stages[0].forward.layout().slot_bits, count: 1 },
        })
    }

    /// Only its first `outputs` outputs.
    pub fn head(&self, outputs: usize) -> Self {
        let rows = (0..outputs.min(self.outputs())).map(|o| self.taps.of(o));
        let taps = Taps::from_rows(rows);
        let offsets = self.offsets[..taps.outputs()].to_vec();
        Self { taps, offsets, ..self.clone() }
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Outputs of the layer.
    pub fn outputs(&self) -> usize {
        self.taps.outputs()
    }

    /// The server's secret: a row of weights for each output. Only for comparison with what an
    /// attack has read.
    pub fn rows(&self) -> Vec<Vec<i128>> {
        let row = |output| {
            let mut row = vec![0; self.inputs];
            for tap in self.taps.of(output) {
                row[tap.source as usize] = self.weights[tap.weight as usize];
            }
            row
        };
        (0..self.outputs()).map(row).collect()
    }

    /// As [`rows`](Self::rows): what is added to each output.
    pub fn offsets(&self) -> &[i128] {
        &self.offsets
    }

    /// The server without a defence: the bare homomorphic sums, one output in each ciphertext.
    ///
    /// # Errors
    /// Without inputs.
    pub fn answer_bare<H: AdditiveHE>(
        &self,
        public: &H::PublicKey,
        inputs: &[H::Ciphertext],
    ) -> Result<Vec<H::Ciphertext>> {
        let matrix = Matrix { taps: self.taps.clone(), entries: self.weights.clone() };
        let sums = H::matvec(public, &matrix.into(), inputs)?;
        let add = |(sum, &offset): (&H::Ciphertext, &i128)| {
            Ok(H::add_plain(public, sum, &Plaintext::new(self.slot.bits, vec![offset])?))
        };
        sums.iter().zip(&self.offsets).map(add).collect()
    }
}

/// The last thing that a server does to a response: what the client receives after sealing.
///
/// # Errors
/// Never for ciphertexts of this key.
pub fn sealed<H: AdditiveHE>(
    public: &H::PublicKey,
    responses: &[H::Ciphertext],
    slot: SlotShape,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<H::Ciphertext>> {
    let shaped: Vec<_> = responses.iter().map(|c| (c.clone(), slot)).collect();
    H::ciphertexts_from_bytes(public, &seal::<H>(public, &shaped, rng), responses.len())
}

/// The gradient of one mini-batch, `inputs` being `[features, batch]`: the integers that a client
/// computes, here with the sums in the clear.
///
/// # Errors
/// When inputs or labels do not fit the network.
pub fn gradient(model: &Model, inputs: &Array2<f64>, labels: &[usize]) -> Result<Update> {
    let (network, precision) = (model.network(), *model.precision());
    let layers = &model.parameters().layers;
    let mut pass = Pass::new(Arc::clone(network), precision, inputs)?;
    while let Some(stage) = pass.stage() {
        let (linear, layer) = (&network.stages()[stage].linear, &layers[stage]);
        let constant = bias_constant(linear, precision.activations);
        let inputs = pass.activations(stage).view();
        pass.advance(&linear.forward(&layer.weights, &layer.biases, inputs, constant))?;
    }
    pass.compare(labels)?;
    while let Some(stage) = pass.backward_stage() {
        let linear = &network.stages()[stage].linear;
        pass.retreat(&linear.backward(&layers[stage].weights, pass.errors(stage).view()))?;
    }
    pass.gradient()
}

/// A session with the real server, which packs, seals and keeps the ledger.
pub struct Session<H: Backend> {
    server: Server<H>,
    host: PairHost,
    model: Arc<ServedModel>,
    plan: Plan<H::Layout>,
    secret: Arc<H::SecretKey>,
}

impl<H: Backend> Session<H> {
    /// Opens a session with a server of `model` that enforces its ledger.
    ///
    /// # Errors
    /// When the server does not accept the key.
    pub fn open(
        model: &Model,
        secret: &Arc<H::SecretKey>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self> {
        let public = H::public_key(secret);
        let host = PairHost::new(ServedModel::from(model), "attacker", Policy::Enforce);
        let model = host.model();
        let (network, precision) = (&model.network, &model.precision);
        let plan = Plan::new::<H>(network, precision, 1, Purpose::Inference, public)?;
        let mut server = Server::new();
        let public_key = H::public_key_to_bytes(secret);
        let open = ClientMessage::Open { backend: H::ID.into(), public_key };
        server.handle_message(open, &host, rng)?;
        server.poll_transmit();
        Ok(Self { server, host, model, plan, secret: Arc::clone(secret) })
    }

    /// The sums of the first layer for these inputs, which need not be anybody's data; `None` when
    /// the ledger refuses.
    ///
    /// # Errors
    /// When the server says that we misbehave.
    pub fn ask(&mut self, inputs: &[i128], rng: &mut dyn CryptoRng) -> Result<Option<Vec<i128>>> {
        let inputs = Array2::from_shape_fn((inputs.len(), 1), |(i, _)| inputs[i]);
        let Some(sums) = self.stage(0, &inputs, rng)? else { return Ok(None) };
        // The server waits for the other layers before it takes another question.
        for stage in 1..self.plan.stages.len() {
            let zeros = Array2::zeros((self.model.network.stages()[stage].linear.inputs(), 1));
            self.stage(stage, &zeros, rng)?;
        }
        Ok(Some(sums.column(0).to_vec()))
    }

    fn stage(
        &mut self,
        stage: usize,
        inputs: &Array2<i128>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Option<Array2<i128>>> {
        let layout = self.plan.stages[stage].forward.layout();
        let linear = &self.model.network.stages()[stage].linear;
        let ciphertexts = layout.encrypt(&self.secret, linear, inputs, rng)?;
        let stage = u32::try_from(stage).expect("few stages");
        let name = layout.to_string();
        let question =
            ClientMessage::EncryptedActivations { stage, batch: 1, ciphertexts, layout: name };
        self.server.handle_message(question, &self.host, rng)?;
        match self.server.poll_transmit() {
            Some(ServerMessage::WeightedSums { ciphertexts, .. }) => {
                Ok(Some(layout.decrypt(&self.secret, &ciphertexts)?))
            }
            Some(ServerMessage::Refused { .. }) => Ok(None),
            other => {
                let got = other.map_or("nothing", |message| message.name());
                Err(PeerMisbehaved::UnexpectedMessage { expected: "WeightedSums", got }.into())
            }
        }
    }
}
