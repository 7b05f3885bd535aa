variable "region" {
  description = "Region of everything."
  type        = string
  default     = "ams3"
}

variable "image" {
  description = "Image of flowrunner, by its digest, so that what runs is what was signed."
  type        = object({ repository = string, digest = string })

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.image.digest))
    error_message = "A digest is sha256: and 64 hexadecimal digits."
  }
}

variable "flows_repository" {
  description = "Address of the git repository with the flows, over https."
  type        = string
}

variable "domain" {
  description = "Domain whose zone DigitalOcean serves."
  type        = string
}

variable "email" {
  description = "Whom the certificate authority writes to."
  type        = string
}

variable "dns_token" {
  description = "Token of DigitalOcean that may change the zone and nothing else."
  type        = string
  sensitive   = true
}

variable "administrators" {
  description = "Who may reach the API of Kubernetes."
  type        = list(string)

  validation {
    condition     = length(var.administrators) > 0
    error_message = "Name one address at least; Terraform runs from there."
  }
}

variable "influxdb_cloud" {
  description = "InfluxDB Cloud instead of an InfluxDB in the cluster: url, org, bucket, token."
  type        = object({ url = string, org = string, bucket = string, token = string })
  default     = null
  sensitive   = true
}

variable "secrets" {
  description = "Secrets of flows, each a file in /run/secrets/flows."
  type        = map(string)
  default     = {}
  sensitive   = true
}
