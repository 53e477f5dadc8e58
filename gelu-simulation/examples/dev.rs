//! dev
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let t = std::time::Instant::now();
    let p = (a.len() > 2).then_some(gelu_simulation::Plant::ChargeAfterAnswer);
    let n = std::sync::atomic::AtomicU64::new(0);
    let r = gelu_simulation::search(a[0]..a[1], p, &|| {
        let k = 1 + n.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if k % 100 == 0 {
            println!("{k} {:?}", t.elapsed())
        }
    });
    println!("{:?} {r:?}", t.elapsed());
}
