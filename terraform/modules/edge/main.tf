locals {
  flowrunner_host = "${var.flowrunner.name}.${var.domain}"
  mqtt_host       = var.mqtt == null ? null : "${var.mqtt.name}.${var.domain}"
  certificates = concat(
    [{ name = "flowrunner-tls", namespace = var.flowrunner.namespace, host = local.flowrunner_host }],
    var.mqtt == null ? [] : [{ name = var.mqtt.tls_secret, namespace = var.mqtt.namespace, host = local.mqtt_host }],
  )
}

resource "kubernetes_namespace_v1" "this" {
  metadata {
    name   = "edge"
    labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
  }
}

resource "helm_release" "cert_manager" {
  name       = "cert-manager"
  namespace  = kubernetes_namespace_v1.this.metadata[0].name
  repository = "https://charts.jetstack.io"
  chart      = "cert-manager"
  version    = "v1.17.1"
  atomic     = true

  values = [yamlencode({ crds = { enabled = true } })]
}

resource "helm_release" "traefik" {
  name       = "traefik"
  namespace  = kubernetes_namespace_v1.this.metadata[0].name
  repository = "https://traefik.github.io/charts"
  chart      = "traefik"
  version    = "39.0.6"
  atomic     = true

  values = [yamlencode({
    ports     = { web = { http = { redirections = { entryPoint = { to = "websecure", scheme = "https", permanent = true } } } } }
    providers = { kubernetesCRD = { enabled = false }, kubernetesIngress = { enabled = true } }
    service   = { annotations = { "service.beta.kubernetes.io/do-loadbalancer-name" = "flowrunner-http" } }
  })]
}

resource "kubernetes_secret_v1" "dns" {
  metadata {
    name      = "digitalocean-dns"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = { token = var.dns_token }
}

# A chart of our own, because Terraform would look for the types of cert-manager before it has installed them.
resource "helm_release" "edge" {
  name      = "edge"
  namespace = kubernetes_namespace_v1.this.metadata[0].name
  chart     = "${path.module}/../../charts/edge"
  atomic    = true

  values = [yamlencode({
    acme         = { server = var.acme_server, email = var.email, tokenSecret = kubernetes_secret_v1.dns.metadata[0].name }
    certificates = local.certificates
    ingress = {
      namespace = var.flowrunner.namespace
      service   = var.flowrunner.service
      host      = local.flowrunner_host
      paths     = var.flowrunner.paths
      tlsSecret = "flowrunner-tls"
    }
  })]

  depends_on = [helm_release.cert_manager, helm_release.traefik]
}

data "kubernetes_service_v1" "traefik" {
  metadata {
    name      = "traefik"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  depends_on = [helm_release.traefik]
}

data "kubernetes_service_v1" "mqtt" {
  count = var.mqtt == null ? 0 : 1

  metadata {
    name      = var.mqtt.service
    namespace = var.mqtt.namespace
  }

  depends_on = [helm_release.edge]

  lifecycle {
    postcondition {
      condition     = can(self.status[0].load_balancer[0].ingress[0].ip)
      error_message = "The load balancer of the broker has no address yet: apply again in a minute."
    }
  }
}

resource "digitalocean_record" "flowrunner" {
  domain = var.domain
  type   = "A"
  name   = var.flowrunner.name
  value  = data.kubernetes_service_v1.traefik.status[0].load_balancer[0].ingress[0].ip
  ttl    = 300
}

resource "digitalocean_record" "mqtt" {
  count = var.mqtt == null ? 0 : 1

  domain = var.domain
  type   = "A"
  name   = var.mqtt.name
  value  = data.kubernetes_service_v1.mqtt[0].status[0].load_balancer[0].ingress[0].ip
  ttl    = 300
}
