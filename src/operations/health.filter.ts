import { Catch, ServiceUnavailableException } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';

/** Answers with what Terminus found out, also in an application whose own filters have other words for 503. */
@Catch(ServiceUnavailableException)
export class HealthFilter extends BaseExceptionFilter {}
