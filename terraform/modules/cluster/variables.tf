variable "name" {
  description = "Name of the cluster and its network."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,40}[a-z0-9]$", var.name))
    error_message = "A name has 3 to 42 small letters, digits and dashes, begins with a letter and ends with none of the dashes."
  }
}

variable "region" {
  description = "Slug of the region, such as ams3; volumes and databases are there too."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{3}[0-9]$", var.region))
    error_message = "A region is three letters and a digit, such as ams3."
  }
}

variable "kubernetes_minor" {
  description = "Minor version of Kubernetes, such as 1.34; the newest patch that is offered is taken."
  type        = string
  default     = "1.34"

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_minor)) && try(tonumber(split(".", var.kubernetes_minor)[1]) >= 30, false)
    error_message = "The chart of flowrunner needs Kubernetes 1.30 or newer; write the minor version only, such as 1.34."
  }
}

variable "vpc_cidr" {
  description = "Private network of the nodes and the database."
  type        = string
  default     = "10.20.0.0/20"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 24, false)
    error_message = "A network is an IPv4 range from /16 to /24, such as 10.20.0.0/20."
  }
}

variable "nodes" {
  description = "Size of a node, and how many there are at least and at most; the autoscaler chooses between."
  type = object({
    size = string
    min  = number
    max  = number
  })
  default = { size = "s-2vcpu-4gb", min = 1, max = 1 }

  validation {
    condition     = var.nodes.min >= 1 && var.nodes.max >= var.nodes.min && var.nodes.max <= 20
    error_message = "There is at least 1 node, at most 20, and max is not less than min."
  }
}

variable "high_availability" {
  description = "Run the control plane several times. It cannot be switched off again."
  type        = bool
  default     = false
}

variable "allowed_addresses" {
  description = "Who may reach the API of Kubernetes, as addresses or ranges; empty: everybody with a credential."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.allowed_addresses : can(cidrhost(strcontains(address, "/") ? address : "${address}/32", 0))])
    error_message = "Each is an IPv4 address or a range, such as 203.0.113.7 or 203.0.113.0/24."
  }
}

variable "tags" {
  description = "Tags of what is made."
  type        = list(string)
  default     = ["flowrunner"]
}
