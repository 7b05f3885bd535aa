# Several nodes, a control plane that survives a failure, the catalog in PostgreSQL 17, flows from git, TLS for webhooks
# and for the broker, InfluxDB in the cluster or in the cloud.
module "cluster" {
  source = "../../modules/cluster"

  name              = "flowrunner-production"
  region            = var.region
  nodes             = { size = "s-4vcpu-8gb", min = 3, max = 6 }
  high_availability = true
  allowed_addresses = var.administrators
}

module "database" {
  source = "../../modules/database"

  name                  = "flowrunner-production"
  region                = var.region
  vpc_id                = module.cluster.vpc_id
  kubernetes_cluster_id = module.cluster.id
  size                  = "db-s-1vcpu-2gb"
  node_count            = 2
}

module "platform" {
  source = "../../modules/platform"

  influxdb_cloud = var.influxdb_cloud
  mqtt_host      = "mqtt.${var.domain}"
  storage_gb     = { mosquitto = 5, influxdb = 100, prometheus = 50, loki = 50 }
  retention      = { influxdb_days = 0, prometheus_days = 30, loki_days = 30 }

  depends_on = [module.cluster]
}

module "flowrunner" {
  source = "../../modules/flowrunner"

  image          = var.image
  git            = { repository = var.flows_repository }
  state_gb       = 20
  storage_class  = module.platform.storage_class
  mqtt_password  = module.platform.mqtt_passwords["flowrunner"]
  influxdb_token = module.platform.influxdb.token
  secrets        = var.secrets
  catalog_url    = module.database.url
  clients        = [module.platform.monitoring_namespace, "edge"]

  variables = {
    MQTT_URL                    = module.platform.mqtt_url
    INFLUX_URL                  = nonsensitive(module.platform.influxdb.url)
    INFLUX_ORG                  = nonsensitive(module.platform.influxdb.org)
    INFLUX_BUCKET               = nonsensitive(module.platform.influxdb.bucket)
    OTEL_EXPORTER_OTLP_ENDPOINT = module.platform.otlp_endpoint
  }

  servers = [
    { ports = [1883, 8086], namespaces = [module.platform.data_namespace] },
    { ports = [4318], namespaces = [module.platform.monitoring_namespace] },
    { ports = [443], cidrs = ["0.0.0.0/0"] },
    { ports = [module.database.port], cidrs = [module.cluster.vpc_cidr] },
  ]
}

module "edge" {
  source = "../../modules/edge"

  domain    = var.domain
  email     = var.email
  dns_token = var.dns_token

  flowrunner = { namespace = module.flowrunner.namespace, service = module.flowrunner.service }
  mqtt = {
    namespace  = module.platform.data_namespace
    service    = "mosquitto-public"
    tls_secret = "mqtt-tls"
  }
}
