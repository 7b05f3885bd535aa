variable "image" {
  description = "Image of flowrunner: repository, and tag or, better, digest."
  type = object({
    repository = string
    tag        = optional(string, "")
    digest     = optional(string, "")
  })

  validation {
    condition     = var.image.digest == "" || can(regex("^sha256:[0-9a-f]{64}$", var.image.digest))
    error_message = "A digest is sha256: and 64 hexadecimal digits."
  }
}

variable "flows" {
  description = "Flow files by name; leave it empty when flows come from git."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.flows) : can(regex("^[A-Za-z0-9_.-]+\\.ya?ml$", name))])
    error_message = "A flow file ends in .yaml or .yml and is in no folder."
  }
}

variable "git" {
  description = "Repository that flows are taken from all the time, instead of `flows`."
  type = object({
    repository = string
    ref        = optional(string, "main")
    path       = optional(string, "flows")
  })
  default = null

  validation {
    condition     = var.git == null || startswith(try(var.git.repository, ""), "https://")
    error_message = "The repository is read over https://."
  }
}

variable "shards" {
  description = "How many pods share the work."
  type        = number
  default     = 1

  validation {
    condition     = var.shards >= 1 && var.shards <= 16 && floor(var.shards) == var.shards
    error_message = "There are 1 to 16 shards."
  }
}

variable "state_gb" {
  description = "Size in GiB of the volume with the journal of each pod."
  type        = number
  default     = 8

  validation {
    condition     = var.state_gb >= 2
    error_message = "The journal needs 2 GiB at least."
  }
}

variable "storage_class" {
  description = "Class of the volumes; they stay when the release is deleted."
  type        = string
}

variable "mqtt_password" {
  description = "Password of the user flowrunner of the broker."
  type        = string
  sensitive   = true
}

variable "influxdb_token" {
  description = "Token that flows write to InfluxDB with."
  type        = string
  sensitive   = true
}

variable "variables" {
  description = "What flows name as $${NAME}; nothing secret."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.variables) : can(regex("^[A-Z][A-Z0-9_]*$", name))])
    error_message = "A variable has capital letters, digits and underscores."
  }
}

variable "secrets" {
  description = "More secrets for flows: each is a file, `$${file:/run/secrets/flows/NAME}`."
  type        = map(string)
  default     = {}
  sensitive   = true
}

variable "catalog_url" {
  description = "PostgreSQL for the catalog of revisions; null: a file beside the journal."
  type        = string
  default     = null
  sensitive   = true
}

variable "servers" {
  description = "What flows may connect to: TCP ports of pods in namespaces, and of address ranges. All else is denied, besides DNS."
  type = list(object({
    ports      = list(number)
    namespaces = optional(list(string), [])
    cidrs      = optional(list(string), [])
  }))

  validation {
    condition     = alltrue([for server in var.servers : length(server.ports) > 0 && length(server.namespaces) + length(server.cidrs) > 0])
    error_message = "Each names a port, and a namespace or a range of addresses."
  }

  validation {
    condition     = alltrue([for server in var.servers : alltrue([for cidr in server.cidrs : can(cidrhost(cidr, 0))])])
    error_message = "A range is such as 203.0.113.7/32."
  }
}

variable "clients" {
  description = "Namespaces whose pods may reach the HTTP port: Prometheus, and the ingress controller."
  type        = list(string)
}
