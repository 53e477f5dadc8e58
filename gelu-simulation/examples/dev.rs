fn main(){let a:Vec<u64>=std::env::args().skip(1).map(|a|a.parse().unwrap()).collect();
 for s in a[0]..a[1]{let t=std::time::Instant::now(); let p=(a.len()>2).then_some(gelu_simulation::Plant::ChargeAfterAnswer);
 match gelu_simulation::run(s,p){Ok(r)=>println!("{s} {:?} {} {}",t.elapsed(),&r.trace[..8],r.counts),Err(e)=>println!("{s} {:?} BROKEN {e}",t.elapsed())}}}
