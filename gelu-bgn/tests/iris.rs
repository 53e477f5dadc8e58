//! Iris flowers, classified under encryption by a network that was trained in the clear.

use gelu_bgn::SecretKey;
use gelu_bgn::net::{
    Cloud, EncryptedInputs, KeyHolder, Model, RealLayer, Settings, Turn, inference, oracle,
};
use gelu_nn::{Activation, Dataset, FloatTrainer, Recipe, Split, Standardiser, zoo};
use rand::{SeedableRng, rngs::ChaCha20Rng};

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Standardised, and cut off at 4 deviations.
fn iris() -> Split {
    let mut split = Dataset::iris().stratified_split(0.2, &mut rng(1)).unwrap();
    let scaling = Standardiser::fit(&split.train);
    scaling.apply(&mut split.train).unwrap();
    scaling.apply(&mut split.test).unwrap();
    split
}

fn trained(split: &Split) -> (f64, Vec<RealLayer>) {
    let architecture = zoo::iris().with_activation(Activation::Taylor5);
    let recipe = Recipe { epochs: 60, batch: 10, rate: 0.1, l2: 2e-3, ..Recipe::default() };
    let mut trainer = FloatTrainer::<f64>::new(&architecture, recipe, &mut rng(1)).unwrap();
    trainer.train(&split.train, 1, |_| ()).unwrap();
    let bounds = [Some(10.0), None];
    let layers = trainer.parameters().layers.into_iter().zip(architecture.blocks()).zip(bounds);
    let layers = layers.map(|((layer, block), sum_bound)| RealLayer {
        name: block.name().to_owned(),
        weights: layer.weights,
        biases: layer.biases,
        sum_bound,
    });
    (trainer.accuracy(&split.test).unwrap(), layers.collect())
}

/// Fewer masking bits and a smaller table than by default, to be quick.
#[test]
fn encrypted_inference_is_the_integer_network() {
    let split = iris();
    let (accuracy, layers) = trained(&split);
    let settings = Settings { mask_bits: 8, table_bits: 16, ..Settings::default() };
    let model = Model::new(&layers, 4.0, settings).unwrap();

    let features = |sample: usize| -> Vec<f64> {
        split.test.features().column(sample).iter().map(|x| x.clamp(-4.0, 4.0)).collect()
    };
    let clear = |sample: usize| {
        let masks = &mut oracle::Masks::new(&mut rng(sample as u64));
        let (scores, bounded) = oracle::evaluate(&model, &features(sample), masks).unwrap();
        assert!(bounded, "sample {sample} is within the declared bounds");
        scores
    };
    let right = (0..split.test.len())
        .filter(|&sample| oracle::class(&clear(sample)) == split.test.labels()[sample])
        .count();
    let fixed = right as f64 / split.test.len() as f64;
    assert!(accuracy > 0.9 && fixed > accuracy - 0.05, "{accuracy} in float, {fixed} in integers");

    let rng = &mut rng(2);
    let holder = KeyHolder::new(SecretKey::generate(rng), model.plan()).unwrap();
    let public = holder.secret_key().public_key();
    let cloud = Cloud::new(public, model.plan(), &model.encrypt(public, rng)).unwrap();
    for sample in 0..2 {
        let inputs =
            EncryptedInputs::encrypt(public, model.plan(), &features(sample), rng).unwrap();
        let mut session = holder.session();
        let mut rounds = 0;
        let mut turn = cloud.evaluate(&inputs, &mut self::rng(sample as u64)).unwrap();
        let scores = loop {
            match turn {
                Turn::Ask(evaluation, masked) => {
                    rounds += 1;
                    let answer = session.refresh(&masked, rng).unwrap();
                    turn = evaluation.receive(&answer, rng).unwrap();
                }
                Turn::Done(scores, _) => break session.finish(&scores).unwrap().0,
            }
        };
        assert_eq!(scores, clear(sample), "bit for bit");
        assert_eq!(rounds, inference(model.plan()).rounds);
    }
}
