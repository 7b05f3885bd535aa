variable "region" {
  description = "Region of everything."
  type        = string
  default     = "ams3"
}

variable "image" {
  description = "Image of flowrunner."
  type        = object({ repository = string, tag = optional(string, ""), digest = optional(string, "") })
}

variable "home_assistant_url" {
  description = "Address of Home Assistant that is reached from the cluster, such as https://home.example.org; flows name it as $${HA_URL}."
  type        = string

  validation {
    condition     = startswith(var.home_assistant_url, "https://")
    error_message = "Home Assistant is sent a token over the internet: the address begins with https://."
  }
}

variable "home_assistant_token" {
  description = "Long-lived access token of Home Assistant; flows read it from /run/secrets/flows/home-assistant."
  type        = string
  sensitive   = true
}
