variable "storage_gb" {
  description = "Sizes of the volumes in GiB."
  type = object({
    mosquitto  = optional(number, 1)
    influxdb   = optional(number, 20)
    prometheus = optional(number, 10)
    loki       = optional(number, 10)
    grafana    = optional(number, 1)
  })
  default = {}

  validation {
    condition     = alltrue([for size in values(var.storage_gb) : size >= 1 && size <= 16384 && floor(size) == size])
    error_message = "A volume has 1 to 16384 GiB, whole ones."
  }
}

variable "retention" {
  description = "How long measurements (0: for ever), metrics and logs are kept, in days."
  type = object({
    influxdb_days   = optional(number, 0)
    prometheus_days = optional(number, 15)
    loki_days       = optional(number, 14)
  })
  default = {}

  validation {
    condition     = var.retention.influxdb_days >= 0 && var.retention.prometheus_days >= 1 && var.retention.loki_days >= 1
    error_message = "Metrics and logs are kept for a day at least, and no time is negative."
  }
}

variable "influxdb_cloud" {
  description = "Use this InfluxDB Cloud instead of an InfluxDB in the cluster."
  type = object({
    url    = string
    org    = string
    bucket = string
    token  = string
  })
  default   = null
  sensitive = true

  validation {
    condition     = var.influxdb_cloud == null || startswith(try(var.influxdb_cloud.url, ""), "https://")
    error_message = "The address of InfluxDB Cloud begins with https://: it is sent a token."
  }
}

variable "influxdb" {
  description = "Organization and bucket that an InfluxDB in the cluster begins with."
  type = object({
    org    = optional(string, "home")
    bucket = optional(string, "home")
  })
  default = {}
}

variable "mqtt_host" {
  description = "Name under which the broker is reached from outside, by TLS only; null: from inside only."
  type        = string
  default     = null
}

variable "mqtt_tls_secret" {
  description = "Secret in the namespace `data` with the certificate of mqtt_host."
  type        = string
  default     = "mqtt-tls"
}

variable "mqtt_users" {
  description = "Clients of the broker besides flowrunner; each has a password of its own."
  type        = set(string)
  default     = ["home-assistant"]

  validation {
    condition     = alltrue([for user in var.mqtt_users : can(regex("^[a-z][a-z0-9-]*$", user)) && user != "flowrunner"])
    error_message = "A user has small letters, digits and dashes; flowrunner is there already."
  }
}

variable "otlp_endpoint" {
  description = "Where the OpenTelemetry Collector sends traces by OTLP over HTTP, such as https://traces.example.org; null: into its log."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null || can(regex("^https?://", var.otlp_endpoint))
    error_message = "An endpoint begins with http:// or https://."
  }
}
