variable "name" {
  description = "Name of the database cluster."
  type        = string
}

variable "region" {
  description = "Slug of the region, that of the Kubernetes cluster."
  type        = string
}

variable "vpc_id" {
  description = "Private network through which the database is reached."
  type        = string
}

variable "kubernetes_cluster_id" {
  description = "The only one that may connect."
  type        = string
}

variable "size" {
  description = "Size of a node of the database."
  type        = string
  default     = "db-s-1vcpu-1gb"

  validation {
    condition     = startswith(var.size, "db-") || startswith(var.size, "gd-") || startswith(var.size, "so1_5-")
    error_message = "A size of a managed database begins with db-, gd- or so1_5-, such as db-s-1vcpu-1gb."
  }
}

variable "node_count" {
  description = "1, or 2 or 3 with standby nodes."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 3], var.node_count)
    error_message = "A database has 1, 2 or 3 nodes."
  }
}

variable "tags" {
  description = "Tags of the database."
  type        = list(string)
  default     = ["flowrunner"]
}
