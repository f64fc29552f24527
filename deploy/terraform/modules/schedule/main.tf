# When one token is rotated, and when its alarms fire: what Secrets Manager accepts, by its user guide ("Rotation
# schedules") and its API reference (RotationRulesType). The same rules as deploy/schedule.cjs, which a test compares.
# It has no resource: everything is decided by the three variables. Spans are in hours, and from `gap` on in seconds.

terraform {
  required_version = ">= 1.9"
}

variable "schedule" {
  description = "A schedule of Secrets Manager, in UTC: cron(…) with six fields, or rate(…)."
  type        = string
}

variable "window" {
  description = "How long after it a rotation may begin, in whole hours, as in 1h. Empty: Secrets Manager's own default."
  type        = string
}

variable "token_lifetime" {
  description = "How long the provider's tokens live, at least: minutes, hours or days, as in 1440m, 24h, 30d."
  type        = string
}

locals {
  rate       = try(regex("^rate\\(([1-9][0-9]{0,5}) (hour|day)s?\\)$", var.schedule), null)
  is_rate    = startswith(var.schedule, "rate(")
  rate_hours = try(tonumber(local.rate[0]) * (local.rate[1] == "hour" ? 1 : 24), 0)

  words  = try(regexall("\\S+", regex("^cron\\((.*)\\)$", var.schedule)[0]), [])
  is_six = length(local.words) == 6
  cron   = zipmap(["minutes", "hours", "days", "months", "weekdays", "years"], local.is_six ? local.words : ["", "", "", "", "", ""])

  # Sunday is 1. `6L` is the last Friday of the month, `2#1` its first Monday, and `L` alone Saturday.
  ordinal = try(regex("(?i)^(\\w+?)(L|#([1-5]))$", local.cron.weekdays), null)
  fields = {
    hours    = { text = local.cron.hours, least = 0, most = 23, names = [] }
    months   = { text = local.cron.months, least = 1, most = 12, names = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"] }
    days     = { text = local.cron.days == "L" || local.cron.days == "?" ? "*" : local.cron.days, least = 1, most = 31, names = [] }
    weekdays = { text = local.cron.weekdays == "L" ? "7" : local.cron.weekdays == "?" ? "*" : try(local.ordinal[0], local.cron.weekdays), least = 1, most = 7, names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] }
  }
  numbers = {
    for title, field in local.fields : title => merge(
      { for number in range(field.least, field.most + 1) : tostring(number) => number },
      { for number in range(field.least, field.most + 1) : format("%02d", number) => number },
      { for index, name in field.names : name => index + field.least },
    )
  }
  items = {
    for title, field in local.fields : title => try([
      for item in split(",", field.text) : {
        range = split("-", regex("^([^/]+)(?:/([1-9][0-9]?))?$", item)[0])
        step  = regex("^([^/]+)(?:/([1-9][0-9]?))?$", item)[1]
      }
    ], [])
  }
  # A word that is no number and no name has no bounds, and then the field has no values.
  bounds = {
    for title, field in local.fields : title => try([
      for item in local.items[title] : {
        from = join("-", item.range) == "*" ? field.least : local.numbers[title][upper(item.range[0])]
        to = (
          join("-", item.range) == "*" ? field.most
          : length(item.range) == 2 ? local.numbers[title][upper(item.range[1])]
          : length(item.range) > 2 ? local.numbers[title]["more than two"]
          : item.step == null ? local.numbers[title][upper(item.range[0])]
          : field.most
        )
        step = item.step == null ? 1 : tonumber(item.step)
      }
    ], [])
  }
  # Ascending; empty where the field cannot be read.
  values = {
    for title, field in local.fields : title => [
      for number in range(field.least, field.most + 1) : number
      if alltrue([for bound in local.bounds[title] : bound.from <= bound.to]) && anytrue([
        for bound in local.bounds[title] :
        number >= bound.from && number <= bound.to && (number - bound.from) % bound.step == 0
      ])
    ]
  }

  # Eight years from 2024 contain every pair of a date and a weekday that the limits below allow. Days are counted from
  # the first, which is a Monday.
  month_days  = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  month_start = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]
  months = flatten([
    for year in range(8) : [
      for month in local.values.months : {
        start = 365 * year + floor((year + 3) / 4) + local.month_start[month - 1] + (year % 4 == 0 && month > 2 ? 1 : 0)
        days  = local.month_days[month - 1] + (year % 4 == 0 && month == 2 ? 1 : 0)
      }
    ]
  ])
  is_last_day = local.cron.days == "L"
  is_weekday  = [for number in range(1, 8) : contains(local.values.weekdays, number)]
  is_daily    = local.is_six && !local.is_last_day && length(local.values.months) == 12 && length(local.values.days) == 31 && length(local.values.weekdays) == 7
  # The days of a month that a weekday's place in it leaves: the nth week, or the last.
  nth = try(tonumber(local.ordinal[2]), null)
  due = local.is_daily ? [0, 1] : flatten([
    for month in local.months : [
      for day in local.values.days : month.start + day
      if day <= month.days && local.is_weekday[(month.start + day) % 7] && (
        local.is_last_day ? day == month.days
        : local.ordinal == null ? true
        : local.nth == null ? day > month.days - 7
        : ceil(day / 7) == local.nth
      )
    ]
  ])
  hours      = local.values.hours
  first_hour = try(local.hours[0], 0)
  last_hour  = local.is_rate ? 0 : try(local.hours[length(local.hours) - 1], 0)
  gaps = length(local.hours) == 0 || length(local.due) == 0 ? [] : concat(
    [for index, hour in local.hours : hour - local.hours[max(index - 1, 0)] if index > 0],
    [for index, day in local.due : 24 * (day - local.due[max(index - 1, 0)]) - local.last_hour + local.first_hour if index > 0],
  )
  longest  = local.is_rate ? local.rate_hours : length(local.gaps) == 0 ? 0 : max(local.gaps...)
  shortest = local.is_rate ? local.rate_hours : length(local.gaps) == 0 ? 0 : min(local.gaps...)

  why_not_rate = (
    local.rate == null ? "it is not of the form rate(12 hours) or rate(1 day)"
    : local.rate_hours > 24 * 999 ? "it is longer than 999 days"
    : ""
  )
  why_not_cron = (
    !local.is_six ? "it is neither rate(…) nor cron(…) with six fields"
    : local.cron.minutes != "0" ? "the minutes must be 0: windows open on the hour"
    : local.cron.years != "*" ? "the year must be *"
    : (local.cron.days == "?") == (local.cron.weekdays == "?") ? "one of the day of the month and the day of the week must be ?, and one not"
    : length(local.unread) > 0 ? "the ${local.unread[0]} ${jsonencode(local.fields[local.unread[0]].text)} cannot be read, are out of their range, or run backwards"
    : length(local.gaps) == 0 ? "it never comes"
    : local.longest > 366 * 24 ? "its rotations are more than a year apart"
    : ""
  )
  unread  = [for title in ["hours", "months", "days", "weekdays"] : title if length(local.values[title]) == 0]
  why_not = local.is_rate ? local.why_not_rate : local.why_not_cron
  bad_schedule = (
    local.why_not != "" ? local.why_not
    : local.shortest < 4 ? "two rotations would be ${local.shortest} hours apart, and Secrets Manager rotates every four hours at most"
    : ""
  )

  window         = try(tonumber(regex("^([1-9][0-9]?)h$", var.window)[0]), 0)
  default_window = local.is_rate ? (try(local.rate[1], "") == "hour" ? 1 : 24) : local.longest < 24 ? 1 : 24 - local.first_hour
  bad_window = (
    var.window == "" ? ""
    : local.window == 0 || local.window > 24 ? "is no length in hours: 1h to 24h, as in 2h"
    : local.bad_schedule != "" ? ""
    : local.window > local.shortest ? "extends into the next rotation, which may begin ${local.shortest} hours later: give ${local.shortest}h at most"
    : local.last_hour + local.window > 24 ? "extends into the next UTC day, because the last window of a day opens at ${local.last_hour}:00: give ${24 - local.last_hour}h at most"
    : ""
  )

  lifetime = try(regex("^([1-9][0-9]{0,5})(m|h|d)$", var.token_lifetime), null)
  life     = try(tonumber(local.lifetime[0]) * { m = 60, h = 3600, d = 86400 }[local.lifetime[1]], 0)
  gap      = 3600 * (local.longest + (var.window == "" ? local.default_window : local.window))
  slack    = local.life - local.gap
  bad_lifetime = (
    local.lifetime == null ? "is no length of time: give minutes, hours or days, as in 1440m, 24h or 30d"
    : local.bad_schedule != "" || local.bad_window != "" ? ""
    # A token must outlive the gap, the peers' caches (five minutes) and the clock skew (one).
    : local.slack <= 360 ? "is too short for schedule = ${jsonencode(var.schedule)}: up to ${local.gap / 3600} hours pass between two rotations, and caches and clocks need six minutes more. Rotate more often, shorten the window, or give the life that the provider's tokens really have, as in 30d"
    : ""
  )

  # The first alarm fires an hour, or half of the remaining life, after the gap; the second while half of what is left then,
  # and half an hour to notice it, remains. Neither fires while rotations are on time, and both fire before the token ends.
  wanted  = local.gap + min(3600, local.slack / 2)
  period  = ceil(local.wanted / 300) * 300 <= 86400 ? 300 : 3600
  periods = ceil(local.wanted / local.period)
  # CloudWatch looks back a day with short periods, and a week with periods of an hour.
  look_back       = local.period == 3600 ? 604800 : 86400
  missing_periods = min(local.periods, 604800 / local.period)
  missing_hours   = floor(local.period * local.missing_periods / 3600)
  missing_minutes = (local.period * local.missing_periods % 3600) / 60
}

output "mistakes" {
  description = "What is wrong, one sentence each, with the variable's name. The other outputs mean nothing unless it is empty."
  value = compact([
    local.bad_schedule == "" ? "" : "schedule = ${jsonencode(var.schedule)} is refused by Secrets Manager: ${local.bad_schedule}. Good ones are cron(0 3/12 * * ? *), cron(0 3 * * ? *), rate(12 hours) and rate(1 day), in UTC.",
    local.bad_window == "" ? "" : "window = ${jsonencode(var.window)} ${local.bad_window}.",
    local.bad_lifetime == "" ? "" : "token_lifetime = ${jsonencode(var.token_lifetime)} ${local.bad_lifetime}.",
  ])
}

output "expression" {
  description = "The schedule as AWS writes it."
  value = (
    local.is_rate ? try("rate(${local.rate[0]} ${local.rate[1]}${local.rate[0] == "1" ? "" : "s"})", "")
    : "cron(${join(" ", local.words)})"
  )
}

output "expiring_seconds" {
  description = "Less than a token has left at the latest time of its rotation."
  value       = floor(min(local.slack - 300, local.slack / 2 + 1800))
}

output "missing" {
  description = "The alarm about a missing rotation; is_seen is false where CloudWatch cannot look back so far, or only too late."
  value = {
    period   = local.period
    periods  = local.missing_periods
    is_seen  = local.periods * local.period <= local.look_back && (local.periods + 1) * local.period < local.life
    in_words = "${local.missing_hours} hours${local.missing_minutes == 0 ? "" : " and ${local.missing_minutes} minutes"}"
  }
}
