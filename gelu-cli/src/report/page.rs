//! The page itself: a report's parts in the order in which a reader wants them.

use std::fmt::{self, Display, Write};

use gelu_bench::draw::{self, Palette};
use gelu_bench::exhibit::{Axis, Bar, Bars};
use gelu_bench::html::{self, Escaped};
use gelu_core::ledger::{DataExposure, Exposure, LayerExposure};

use super::{Facts, Leakage, Report};
use crate::phases;

/// The whole file.
pub(super) fn render(report: &Report) -> String {
    html::document(&report.title, |out| write_page(out, report))
}

fn write_page(out: &mut String, report: &Report) -> fmt::Result {
    html::header(out, &report.title, &report.headline)?;
    html::claims(out, "badges", &report.claims)?;
    if let Some(warning) = &report.warning {
        writeln!(out, "<p class=\"warning\">{}</p>", Escaped(warning))?;
    }
    out.push_str("</header>\n");
    write_curves(out, report)?;
    write_costs(out, report)?;
    if let Some(leakage) = &report.leakage {
        write_leakage(out, leakage)?;
    }
    if report.warning.is_none() {
        out.push_str(PROTECTION);
    }
    write_facts(out, &report.facts)?;
    write!(
        out,
        "<h2>Again</h2>\n<pre>{}</pre>\n<footer>Written by gelu {}. Encrypted training after \
         GELU-Net (IJCAI 2018), with the exact activations.</footer>\n",
        Escaped(&report.command_line),
        env!("CARGO_PKG_VERSION"),
    )
}

fn write_curves(out: &mut String, report: &Report) -> fmt::Result {
    if report.curves.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Learning</h2>\n<div class=\"pair\">\n");
    for curves in &report.curves {
        let svg = draw::lines::lines(curves, &Palette::STYLED);
        html::exhibit::chart(out, &curves.caption, &svg)?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn write_costs(out: &mut String, report: &Report) -> fmt::Result {
    out.push_str("<h2>Cost</h2>\n<div class=\"pair\">\n");
    let bar = |name: &str, value| Bar { name: name.into(), values: vec![value] };
    if !report.time.is_empty() {
        let bars = report.time.iter().map(|(name, seconds)| bar(name, *seconds));
        write_bars(out, "Time, by phase", "time (s)", bars.collect(), phases::seconds)?;
    }
    if !report.traffic.is_empty() {
        let bars = report.traffic.iter().map(|(name, bytes)| bar(name, *bytes as f64 / 1e6));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number"
        )]
        let label = |megabytes: f64| phases::bytes((megabytes * 1e6).round() as u64);
        write_bars(out, "Bytes on the wire, by phase", "traffic (MB)", bars.collect(), label)?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn write_bars(
    out: &mut String,
    caption: &str,
    axis: &str,
    bars: Vec<Bar>,
    label: fn(f64) -> String,
) -> fmt::Result {
    let (caption, axis) = (caption.to_owned(), Axis::linear(axis));
    let bars = Bars { caption, axis, segments: vec![], bars };
    let svg = draw::bars::bars(&bars, &Palette::STYLED, label);
    html::exhibit::chart(out, &bars.caption, &svg)
}

fn write_leakage(out: &mut String, leakage: &Leakage) -> fmt::Result {
    let exposure = &leakage.exposure;
    write!(
        out,
        "<h2>What leaks</h2>\n<p class=\"verdict\"><b>The ledger's verdict: {}.</b> {}</p>\n\
         <div class=\"pair\">\n",
        Escaped(&exposure.verdict()),
        Escaped(&leakage.meaning)
    )?;
    write_model_table(out, exposure)?;
    write_data_table(out, exposure)?;
    out.push_str("</div>\n");
    Ok(())
}

fn write_model_table(out: &mut String, exposure: &Exposure) -> fmt::Result {
    out.push_str(
        "<div class=\"card\"><h3>The model, towards a client</h3>\n<table>\n<tr><th>layer</th>\
         <th>direction</th><th class=\"n\">unknowns</th><th class=\"n\">equations a sample</th>\
         <th class=\"n\">safe samples, honest client</th><th class=\"n\">any client</th></tr>\n",
    );
    let narrowest = exposure.safe_samples().1;
    for layer in &exposure.model {
        write_row(
            out,
            layer == narrowest,
            &[&layer.layer, &layer.direction],
            &[
                layer.unknowns,
                layer.equations_per_sample,
                LayerExposure::safe_samples_honest(layer),
                layer.safe_samples(),
            ],
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn write_data_table(out: &mut String, exposure: &Exposure) -> fmt::Result {
    let Some((_, neediest)) = exposure.least_samples() else { return Ok(()) };
    out.push_str(
        "<div class=\"card\"><h3>The data, towards the server (sum of a lease)</h3>\n<table>\n\
         <tr><th>layer</th><th class=\"n\">equations</th><th class=\"n\">unknowns a sample</th>\
         <th class=\"n\">least samples of a lease</th></tr>\n",
    );
    for data in &exposure.data {
        write_row(
            out,
            data == neediest,
            &[&data.layer],
            &[data.equations, data.unknowns_per_sample, DataExposure::least_samples(data)],
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn write_row(
    out: &mut String,
    deciding: bool,
    texts: &[&dyn Display],
    numbers: &[u64],
) -> fmt::Result {
    out.push_str(if deciding { "<tr class=\"deciding\">" } else { "<tr>" });
    for text in texts {
        write!(out, "<td>{}</td>", Escaped(&text.to_string()))?;
    }
    for number in numbers {
        write!(out, "<td class=\"n\">{number}</td>")?;
    }
    out.push_str("</tr>\n");
    Ok(())
}

fn write_facts(out: &mut String, facts: &[Facts]) -> fmt::Result {
    out.push_str("<h2>Parameters</h2>\n<div class=\"pair\">\n");
    for Facts { title, items } in facts {
        html::facts(out, title, items.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
    }
    out.push_str("</div>\n");
    Ok(())
}

/// True of every encrypted run; the numbers of this run stand in the tables above it.
const PROTECTION: &str = r#"<h2>Who sees what</h2>
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
"#;

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
