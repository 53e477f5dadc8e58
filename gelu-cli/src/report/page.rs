//! The page itself: a report's parts in the order in which a reader wants them.

use gelu_core::ledger::{DataExposure, Exposure, LayerExposure};
use maud::{Markup, PreEscaped, html};

use super::charts::{Curves, bars};
use super::{Facts, Leakage, Report};
use crate::page;
use crate::phases;

/// The whole file.
pub(super) fn render(report: &Report) -> String {
    let body = html! {
        (page::header(&report.title, &report.headline, &report.claims, report.warning.as_deref()))
        @if !report.curves.is_empty() {
            h2 { "Learning" }
            div.pair { @for curves in &report.curves { (Curves::draw(curves)) } }
        }
        (costs(report))
        @if let Some(leakage) = &report.leakage { (self::leakage(leakage)) }
        @if report.warning.is_none() { (PROTECTION) }
        h2 { "Parameters" }
        div.pair { @for Facts { title, items } in &report.facts { (page::facts(title, items)) } }
        h2 { "Again" }
        pre { (report.command_line) }
        footer {
            "Written by gelu " (env!("CARGO_PKG_VERSION")) ". Encrypted training after GELU-Net \
             (IJCAI 2018), with the exact activations."
        }
    };
    page::document(&report.title, "", body)
}

fn costs(report: &Report) -> Markup {
    let time = report.time.iter();
    let time: Vec<_> = time.map(|(name, s)| (name.as_str(), *s, phases::seconds(*s))).collect();
    let traffic = report.traffic.iter();
    let traffic: Vec<_> =
        traffic.map(|(name, n)| (name.as_str(), *n as f64, phases::bytes(*n))).collect();
    html! {
        h2 { "Cost" }
        div.pair {
            @if !time.is_empty() { (bars("Time, by phase", &time)) }
            @if !traffic.is_empty() { (bars("Bytes on the wire, by phase", &traffic)) }
        }
    }
}

fn leakage(leakage: &Leakage) -> Markup {
    let exposure = &leakage.exposure;
    html! {
        h2 { "What leaks" }
        p.verdict { b { "The ledger's verdict: " (exposure.verdict()) "." } " " (leakage.meaning) }
        div.pair { (model_table(exposure)) (data_table(exposure)) }
    }
}

fn model_table(exposure: &Exposure) -> Markup {
    let narrowest = exposure.safe_samples().1;
    html! {
        div.card {
            h3 { "The model, towards a client" }
            table {
                tr {
                    th { "layer" } th { "direction" } th.n { "unknowns" }
                    th.n { "equations a sample" } th.n { "safe samples, honest client" }
                    th.n { "any client" }
                }
                @for layer in &exposure.model {
                    tr.deciding[layer == narrowest] {
                        td { (layer.layer) } td { (layer.direction) } td.n { (layer.unknowns) }
                        td.n { (layer.equations_per_sample) }
                        td.n { (LayerExposure::safe_samples_honest(layer)) }
                        td.n { (layer.safe_samples()) }
                    }
                }
            }
        }
    }
}

fn data_table(exposure: &Exposure) -> Markup {
    let Some((_, neediest)) = exposure.least_samples() else { return Markup::default() };
    html! {
        div.card {
            h3 { "The data, towards the server (sum of a lease)" }
            table {
                tr {
                    th { "layer" } th.n { "equations" } th.n { "unknowns a sample" }
                    th.n { "least samples of a lease" }
                }
                @for data in &exposure.data {
                    tr.deciding[data == neediest] {
                        td { (data.layer) } td.n { (data.equations) }
                        td.n { (data.unknowns_per_sample) }
                        td.n { (DataExposure::least_samples(data)) }
                    }
                }
            }
        }
    }
}

/// True of every encrypted run; the numbers of this run stand in the tables above it.
const PROTECTION: PreEscaped<&str> = PreEscaped(
    r#"<h2>Who sees what</h2>
<div class="card"><table>
<tr><th></th><th>the client, who owns the data</th><th>the server, who owns the model</th><th>the wire</th></tr>
<tr><td>inputs, labels, activations, errors</td><td>its own</td><td>never in the clear</td><td>ciphertexts, inside TLS 1.3</td></tr>
<tr><td>gradient of one step</td><td>its own</td><td>never: each update hides under a fresh mask 64 bits longer than itself</td><td>masked, inside TLS 1.3</td></tr>
<tr><td>sum of the updates of a lease</td><td>its own</td><td>yes, at the end of the lease: it spans the inputs of a lease that is too short</td><td>inside TLS 1.3</td></tr>
<tr><td>weights</td><td>never as such; each sample gives linear equations about them, which the ledger counts</td><td>between two leases; during one only under the client's mask</td><td>never</td></tr>
<tr><td>shapes, batch sizes, timing, number of samples</td><td>yes</td><td>yes</td><td>sizes and times of the frames</td></tr>
</table></div>
<p>Both parties are trusted to follow the protocol and not to collude. Against a client that queries
for long, the model's privacy is a matter of counting, not of cryptography: whoever sees as many
equations as there are unknowns can solve for them.</p>
"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_stands_alone_and_escapes_what_it_is_given() {
        let page = render(&Report::of_tests("<script>alert('x')</script>"));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() >= 9);
        assert!(page.contains("1.0 s") && page.contains("1.5 MB"), "{page}");
        // The name space of SVG is an address that no browser fetches.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for outside in ["http", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
