//! Commands to look around with, as `demo --keep` prints them.

use std::path::Path;
use std::{fs, io};

use ingress_acme_sim::World;

use super::acts::SHORT;

/// An Ingress for the user to create.
const SHOP: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  rules: [{host: shop.example.com}]
";

/// Returns the commands for a shell, in an order in which each works. Writes the manifest that one
/// of these commands names into the world's directory.
pub(super) fn prepare(world: &World, program: &Path) -> io::Result<Vec<String>> {
    let manifest = world.directory().join("shop.yaml");
    fs::write(&manifest, SHOP)?;
    Ok(commands(&world.kubeconfig(), program, &manifest))
}

fn commands(kubeconfig: &Path, program: &Path, manifest: &Path) -> Vec<String> {
    let [kubeconfig, program, manifest] = [kubeconfig, program, manifest].map(quoted);
    vec![
        format!("export KUBECONFIG={kubeconfig}"),
        "kubectl get ingress,secret,events -A".to_owned(),
        format!("kubectl describe ingress {SHORT}"),
        format!("{program} status -A"),
        format!("{program} explain {SHORT}"),
        format!("{program} renew {SHORT}"),
        // The simulated API server has no OpenAPI document to validate by.
        format!("kubectl create --validate=false -f {manifest}"),
        "kubectl wait --for=create secret/shop-tls --timeout=1m".to_owned(),
        format!("{program} status"),
    ]
}

/// Quotes a path for a shell, where the path needs quotes.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_or_expand_it() {
        assert_eq!(quoted(Path::new("/tmp/a-1/admin.kubeconfig")), "/tmp/a-1/admin.kubeconfig");
        assert_eq!(quoted(Path::new("/my files/$x")), "'/my files/$x'");
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
