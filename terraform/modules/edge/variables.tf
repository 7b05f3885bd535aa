variable "domain" {
  description = "Domain whose zone DigitalOcean serves, such as example.org."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", var.domain))
    error_message = "A domain is such as example.org, without a scheme and without a dot at its end."
  }
}

variable "email" {
  description = "Whom the certificate authority tells of certificates that end."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.email))
    error_message = "An address of a person, such as ops@example.org."
  }
}

variable "dns_token" {
  description = "Token of DigitalOcean that may change the zone and nothing else; it proves who owns the names."
  type        = string
  sensitive   = true
}

variable "acme_server" {
  description = "Directory of the certificate authority."
  type        = string
  default     = "https://acme-v02.api.letsencrypt.org/directory"

  validation {
    condition     = startswith(var.acme_server, "https://")
    error_message = "The directory begins with https://."
  }
}

variable "flowrunner" {
  description = "Namespace, service and public name (left of the domain) of flowrunner, and the paths that are public."
  type = object({
    namespace = string
    service   = string
    name      = optional(string, "flows")
    paths     = optional(list(string), ["/in/"])
  })

  validation {
    condition     = alltrue([for path in var.flowrunner.paths : startswith(path, "/")])
    error_message = "A path begins with a slash."
  }
}

variable "mqtt" {
  description = "Namespace, service and public name of the broker; null: it is not public."
  type = object({
    namespace  = string
    service    = string
    tls_secret = string
    name       = optional(string, "mqtt")
  })
  default = null
}
